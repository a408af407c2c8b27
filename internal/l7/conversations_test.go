package l7

// conversation is what two ends say to each other, and the calls that are in it.
type conversation struct {
	name  string
	turns []turn
	want  []string // see brief

	tail int // turns at the end that are HTTP only for who did not see what came before
}

const (
	get    = ">GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
	ok     = "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	got    = "GET /a?b=c 200 0/5"
	upload = "POST /up HTTP/1.1\r\nHost: x\r\n"
)

// sequential are conversations of clients that wait for each answer.
var sequential = []conversation{
	{"one request", []turn{get, ok}, []string{got}, 0},
	{"keep-alive", []turn{get, ok, get, ok, get, ok}, []string{got, got, got}, 0},
	{"HEAD has no content whatever its length says",
		[]turn{">HEAD /h HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", get, ok},
		[]string{"HEAD /h 200 0/0", got}, 0},
	{"204 and 304 have no content",
		[]turn{get, "<HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", get,
			"<HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", get, ok},
		[]string{"GET /a?b=c 204 0/0", "GET /a?b=c 304 0/0", got}, 0},
	{"content in both directions",
		[]turn{">" + upload + "Content-Length: 11\r\n\r\nGET / HTTP/", ok, get, ok},
		[]string{"POST /up 200 11/5", got}, 0},
	{"100 Continue and Early Hints come before the answer",
		[]turn{">" + upload + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", "<HTTP/1.1 100 Continue\r\n\r\n", ">abc",
			"<HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "<HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", get, ok},
		[]string{"POST /up 201 3/0", got}, 0},
	{"chunked in both directions, extensions and trailers",
		[]turn{">" + upload + "Transfer-Encoding: gzip, chunked\r\n\r\n4;a=b;c=\"d\\\"e\"\r\nGET \r\nA\r\n0123456789\r\n0;z\r\nX-T: 1\r\n\r\n",
			"<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00F\r\nHTTP/1.1 200 OK\r\n0\r\n\r\n", get, ok},
		[]string{"POST /up 200 14/15", got}, 0},
	{"HTTP/1.0 ends with the answer",
		[]turn{">GET / HTTP/1.0\r\n\r\n", "<HTTP/1.0 200 OK\r\n\r\nuntil the end"}, []string{"GET / 200 0/13"}, 0},
	{"HTTP/1.0 with keep-alive",
		[]turn{">GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
			"<HTTP/1.0 200 OK\r\nConnection: foo, keep-alive\r\nContent-Length: 2\r\n\r\nok",
			">GET /2 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "<HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
		[]string{"GET / 200 0/2", "GET /2 404 0/0"}, 0},
	{"content as long as the connection",
		[]turn{get, ok, get, "<HTTP/1.1 200 OK\r\n\r\n", "<first HTTP/1.1 2xx OK\r\n\r\n", "<more"},
		[]string{got, "GET /a?b=c 200 0/29"}, 0},
	{"nothing counts after Connection: close",
		[]turn{">GET / HTTP/1.1\r\nConnection: close\r\n\r\n", ok, ">GET /ignored HTTP/1.1\r\n\r\n"},
		[]string{"GET / 200 0/5"}, 1},
	{"CONNECT makes a tunnel",
		[]turn{">CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", ">\x16\x03\x01", "<\x16\x03\x03", get, ok},
		[]string{"CONNECT x:443 200 0/0"}, 2},
	{"CONNECT that is refused",
		[]turn{">CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "<HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", get, ok},
		[]string{"CONNECT x:443 407 0/2", got}, 0},
	{"an upgrade",
		[]turn{">GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
			"<HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", "<\x81\x05hello", ">\x81\x85abcdefghi", get, ok},
		[]string{"GET /ws 101 0/0"}, 2},
	{"an upgrade that the server ignores",
		[]turn{">GET /h2 HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", ok, get, ok},
		[]string{"GET /h2 200 0/5", got}, 0},
	{"every form of target",
		[]turn{">GET http://x/y HTTP/1.1\r\n\r\n", ok, ">OPTIONS * HTTP/1.1\r\n\r\n", ok, ">FROB /z HTTP/1.1\r\n\r\n", ok},
		[]string{"GET http://x/y 200 0/5", "OPTIONS * 200 0/5", "FROB /z 200 0/5"}, 0},
	{"no reason phrase, and empty lines before a request",
		[]turn{get, "<HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ">\r\nGET /a?b=c HTTP/1.1\r\n\r\n", "<HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n"},
		[]string{"GET /a?b=c 200 0/0", "GET /a?b=c 500 0/0"}, 0},
	{"a request without an answer", []turn{get, ok, get}, []string{got, "GET /a?b=c 0 0/-1 connection_closed"}, 0},
	{"an answer that breaks off",
		[]turn{get, "<HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"}, []string{"GET /a?b=c 200 0/-1 connection_closed"}, 0},
	{"a chunked answer that breaks off",
		[]turn{get, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		[]string{"GET /a?b=c 200 0/-1 connection_closed"}, 0},
	{"a client that is refused while it still sends",
		[]turn{">" + upload + "Content-Length: 100\r\n\r\nabc", "<HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", ">def"},
		[]string{"POST /up 413 -1/2"}, 0},
}

// smuggling are requests and answers of which recipients may disagree where they end: their content is unknown,
// and what comes next is found again.
var smuggling = []conversation{
	{"a request with both lengths",
		[]turn{">" + upload + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", ok, get, ok},
		[]string{"POST /up 200 -1/5", got}, 0},
	{"the same, the other way round",
		[]turn{">" + upload + "Transfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n", ">0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", ok, get, ok},
		[]string{"POST /up 200 -1/5", got}, 0},
	{"two lengths that differ",
		[]turn{">" + upload + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"a list of lengths", []turn{">" + upload + "Content-Length: 3, 3\r\n\r\nabc", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"a length with a sign", []turn{">" + upload + "Content-Length: +3\r\n\r\nabc", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"chunked that is not the last coding",
		[]turn{">" + upload + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"a coding that nobody knows the end of",
		[]turn{">" + upload + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ok, get, ok}, []string{"POST /up 200 -1/5", got}, 0},
	{"an answer with both lengths",
		[]turn{get, "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", get, ok},
		[]string{"GET /a?b=c 200 0/-1", got}, 0},
	{"an answer with two lengths",
		[]turn{get, "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", get, ok},
		[]string{"GET /a?b=c 200 0/-1", got}, 0},
	{"chunked in HTTP/1.0",
		[]turn{">GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "<HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		[]string{"GET / 200 0/-1"}, 0},
	{"a space before the colon",
		[]turn{">" + upload + "Content-Length : 3\r\n\r\nabc", "<HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", get, ok},
		[]string{"POST /up 400 -1/0", got}, 0},
	{"a folded line",
		[]turn{">" + upload + "X: a\r\n Content-Length: 3\r\n\r\nabc", "<HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", get, ok},
		[]string{"POST /up 400 -1/0", got}, 0},
}

// pipelined are conversations of clients that do not wait.
var pipelined = []conversation{
	{"in one record",
		[]turn{">GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /4 HTTP/1.1\r\n\r\n",
			"<HTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 202 B\r\nContent-Length: 9\r\n\r\n" +
				"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 203 C\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n3\r\n0\r\n\r\nHTTP/1.1 204 D\r\n\r\n"},
		[]string{"GET /1 201 0/1", "HEAD /2 202 0/0", "POST /3 203 2/1", "GET /4 204 0/0"}, 0},
	{"in records of their own",
		[]turn{">GET /1 HTTP/1.1\r\n\r\n", ">HEAD /2 HTTP/1.1\r\n\r\n", ">GET /3 HTTP/1.1\r\n\r\n", ">GET /4 HTTP/1.1\r\n\r\n",
			"<HTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n1",
			"<HTTP/1.1 202 B\r\nContent-Length: 9\r\n\r\n", "<HTTP/1.1 203 C\r\nContent-Length: 1\r\n\r\n3",
			"<HTTP/1.1 204 D\r\n\r\n"},
		[]string{"GET /1 201 0/1", "HEAD /2 202 0/0", "GET /3 203 0/1", "GET /4 204 0/0"}, 0},
	{"and then closed before all answers",
		[]turn{get, ok, ">GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 A\r\nContent-Length: 0\r\n\r\n"},
		[]string{got, "GET /1 200 0/0", "GET /2 0 0/-1 connection_closed"}, 0},
}

// interleaved is a client that always has several requests waiting. After a loss its traffic cannot be told
// from that of one that waits.
var interleaved = []conversation{
	{"one after the other",
		[]turn{">GET /1 HTTP/1.1\r\n\r\n", ">HEAD /2 HTTP/1.1\r\n\r\n", ">GET /3 HTTP/1.1\r\n\r\n",
			"<HTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n1", ">GET /4 HTTP/1.1\r\n\r\n",
			"<HTTP/1.1 202 B\r\nContent-Length: 9\r\n\r\n", "<HTTP/1.1 203 C\r\nContent-Length: 1\r\n\r\n3",
			"<HTTP/1.1 204 D\r\n\r\n"},
		[]string{"GET /1 201 0/1", "HEAD /2 202 0/0", "GET /3 203 0/1", "GET /4 204 0/0"}, 0},
}
