// Package dns reads DNS messages (RFC 1035) as far as they tell what was asked and what became of it, and pairs
// questions with their answers as a client's socket saw them.
//
// Nothing is taken for an answer but a response that came to the socket that asked, with the id and the question
// that were sent: RFC 5452 section 9.1 asks the same of a resolver.
package dns
