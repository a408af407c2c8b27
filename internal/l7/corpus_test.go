package l7

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
)

// corpusMessage is what llhttp, in strict mode, reports of one message.
type corpusMessage struct {
	offset         int // in the input
	method, target string
	status         int
	body           int64
	complete       bool
}

type corpusCase struct {
	name     string
	response bool
	input    string
	messages []corpusMessage
	strange  bool // ends in an error
}

var (
	corpusMeta  = regexp.MustCompile(`(?s)^## *(.*)$|^### *(.*)$`)
	corpusEvent = regexp.MustCompile(`^off=(\d+) (?:len=(\d+) span\[(\w+)\]=(.*)|(.*))$`)
)

// corpus reads the strict cases of llhttp's test suite, or skips the test if it is not there.
func corpus(t *testing.T) []corpusCase {
	cases := corpusOrNil(t)
	if cases == nil {
		t.Skip("no llhttp corpus in ../shared/corpora beside the repository")
	}
	return cases
}

func corpusOrNil(t testing.TB) []corpusCase {
	root, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		require.NotEqual(t, root, filepath.Dir(root), "no go.mod above")
		root = filepath.Dir(root)
	}
	folder := filepath.Join(root, "..", "shared", "corpora", "http1-llhttp")
	files, _ := filepath.Glob(filepath.Join(folder, "*", "*.md"))
	var cases []corpusCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		cases = append(cases, parseCorpus(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), string(text))...)
	}
	return cases
}

func parseCorpus(file, text string) (cases []corpusCase) {
	var name, meta, block string
	var current corpusCase
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		switch {
		case block == "" && corpusMeta.MatchString(line):
			name = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case block == "" && strings.HasPrefix(line, "<!-- meta="):
			meta = strings.ReplaceAll(line, " ", "")
		case block == "" && (line == "```http" || line == "```log"):
			block, lines = line[3:], nil
		case line == "```" && block == "http":
			block = ""
			current = corpusCase{name: file + "/" + name, response: strings.Contains(meta, `"response`), input: unescape(lines)}
		case line == "```" && block == "log":
			block = ""
			if strings.Contains(meta, `"type":"request"`) || strings.Contains(meta, `"type":"response"`) {
				if !strings.Contains(meta, "skipBody") && !strings.Contains(meta, "pause") {
					current.expect(lines)
					cases = append(cases, current)
				}
			}
		case block != "":
			lines = append(lines, line)
		}
	}
	return cases
}

func unescape(lines []string) string {
	s := strings.ReplaceAll(strings.Join(lines, "\r\n"), "\\\r\n", "")
	s = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\f`, "\f").Replace(s)
	return regexp.MustCompile(`\\x[0-9a-fA-F]{2}`).ReplaceAllStringFunc(s, func(hex string) string {
		c, _ := strconv.ParseUint(hex[2:], 16, 8)
		return string([]byte{byte(c)})
	})
}

func (c *corpusCase) expect(lines []string) {
	for _, line := range lines {
		m := corpusEvent.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		offset, _ := strconv.Atoi(m[1])
		length, _ := strconv.Atoi(m[2])
		if m[5] == "message begin" {
			c.messages = append(c.messages, corpusMessage{offset: offset})
			continue
		}
		if strings.HasPrefix(m[5], "error") {
			c.strange = true
		}
		if len(c.messages) == 0 {
			continue
		}
		last := &c.messages[len(c.messages)-1]
		switch {
		case m[3] == "method":
			last.method += c.input[offset : offset+length]
		case m[3] == "url":
			last.target += c.input[offset : offset+length]
		case m[3] == "body":
			last.body += int64(length)
		case m[5] == "message complete":
			last.complete = true
		case strings.HasPrefix(m[5], "headers complete") && c.response:
			last.status, _ = strconv.Atoi(c.input[last.offset+9 : last.offset+12])
		}
	}
}

func TestCorpusRequestsAreRightOrUnknown(t *testing.T) {
	found, whole := 0, 0
	for _, c := range corpus(t) {
		if c.response {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, all := range [][]record{records([]turn{turn(">" + c.input)}), bytewise(records([]turn{turn(">" + c.input)}))} {
				calls, _ := ends(all)[0].see(t, all)
				require.LessOrEqual(t, len(calls), len(c.messages))
				for i, call := range calls {
					want := c.messages[i]
					require.Equal(t, want.offset, int(call.RequestSequence-requestOrigin))
					if c.strange && i == len(c.messages)-1 && (want.target == "" || http1.KnownMethod([]byte(call.Method)) == "") {
						continue // llhttp knows a list of methods, and no UTF-8; RFC 9110 allows any token
					}
					require.Equal(t, want.method, call.Method)
					require.Contains(t, []string{want.target, ""}, call.Target)
					if want.complete {
						require.Contains(t, []int64{want.body, -1}, call.RequestBody)
						whole++
					} else {
						require.EqualValues(t, -1, call.RequestBody)
					}
				}
				found += len(calls)
			}
		})
	}
	t.Logf("%d requests found, %d of them complete", found, whole)
	require.Greater(t, whole, 100)
}

func TestCorpusResponsesAreRightOrUnknown(t *testing.T) {
	found := 0
	for _, c := range corpus(t) {
		if !c.response {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var finals []corpusMessage
			requests := ">"
			for _, m := range c.messages {
				if m.status/100 != 1 || m.status == 101 {
					finals = append(finals, m)
					requests += "GET / HTTP/1.1\r\n\r\n"
				}
			}
			if strings.Contains(c.input, " 101 ") {
				requests = ">GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n"
			}
			whole := records([]turn{turn(requests), turn("<" + c.input)})
			for _, all := range [][]record{whole, append(whole[:1:1], bytewise(whole[1:])...)} {
				calls, _ := ends(whole)[0].see(t, all)
				for i, call := range calls {
					if call.Status == 0 {
						continue
					}
					found++
					require.Less(t, i, len(finals))
					want := finals[i]
					if want.status != 0 {
						require.Equal(t, want.status, call.Status)
					} else { // an error within the head, after the status
						require.Equal(t, c.input[want.offset+9:want.offset+12], strconv.Itoa(call.Status))
					}
					require.Contains(t, []int64{want.body, -1}, call.ResponseBody)
				}
			}
		})
	}
	t.Logf("%d responses found", found)
	require.Greater(t, found, 70)
}
