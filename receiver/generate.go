package receiver

//go:generate go run ../internal/tools/metagen .
