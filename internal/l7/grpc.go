package l7

import "bytes"

// isGRPC says whether a content type is gRPC's over HTTP/2: application/grpc, alone or with the messages'
// encoding behind a plus sign. gRPC-Web (application/grpc-web) has its trailers in the content.
func isGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// Names of gRPC's status codes, by number.
var statusNames = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// statusName is the name of the status code that grpc-status holds in decimal, empty if it has none.
func statusName(value []byte) string {
	number := 0
	for _, digit := range value {
		if digit < '0' || digit > '9' || len(value) > 2 {
			return ""
		}
		number = number*10 + int(digit-'0')
	}
	if len(value) == 0 || number >= len(statusNames) {
		return ""
	}
	return statusNames[number]
}
