// Package recording keeps what the kernel delivered in a file and plays it back: the second wire.Source.
// Behind it everything runs as on live input, so a golden-file test, a bug report and a demo without
// root are the same mechanism.
//
// A recording holds payload. Create makes the file readable by its owner only.
//
// # File format, version 1
//
// Integers of the file itself are little-endian. uvarint and varint (zigzag) are those of
// encoding/binary; a string is a uvarint length and that many bytes; a bool is one byte, 0 or 1.
//
//	offset  size  header
//	0       12    magic: 89 'e' 'b' 'p' 'f' 'n' 'e' 't' 0D 0A 1A 0A; the odd bytes tell a file that
//	              was mangled as text, and keep it from being taken for text
//	12      2     format version
//	14      1     byte order of kernel records: 1 little-endian, 2 big-endian
//	15      1     0
//	16      4     n: length of the layout, at most 4096
//	20      n     layout: ASCII, name and size in bytes of each record struct of package wire, and a
//	              checksum over the names, offsets and sizes of all their fields. A recording whose layout
//	              is not the reader's is refused: its records would be misread
//	20+n    4     CRC32C of the bytes 0 to 20+n
//
// Frames follow, each:
//
//	0       1     type
//	1       4     n: length of the body, at most 16 MiB
//	5       n     body
//	5+n     4     CRC32C of type, length and body
//
// Types and bodies, in the order in which the calls happened:
//
//	1 begin    uvarint time, varint offset, string kernel, string arch, uvarint probes, each: string
//	           capability, string hook, uvarint refusals, each: string hook, string reason
//	2 record   one kernel record as bpf/wire.h lays it out; a payload record is followed by its bytes
//	3 flush    uvarint time
//	4 collect  uvarint time, varint offset; uvarint kinds, each: uvarint seen, submitted, suppressed,
//	           lost; uvarint programs, each: string name, uvarint runs, run time, misses; uvarint
//	           counts_full, conns_full, ring_bytes, ring_size; uvarint counts, each: struct count_key
//	           raw, uvarint value. Then, to the end of the body, parts that came later, each: u8 tag,
//	           uvarint length and that many bytes; one whose tag is unknown is skipped:
//	             1  stages: uvarint number, each: uvarint cgroup id, network namespace, bool overflow, u8
//	                direction, u8 stage, uvarint sum, first, counts, each: uvarint; then the losses of each
//	                direction, stage and reason
//	             2  namespaces: uvarint strings, each: string; uvarint namespaces, each: uvarint inode,
//	                identity, zero time; uvarint counters, each: u8 group, uvarint port, value, and the numbers
//	                among the strings of: uvarint device, kind, name
//	5 fact     one answer of wire.Facts: u8 question (1 cgroup path, 2 process, 3 symbol, 4 enum name, 5 namespace),
//	           uvarint ask, key, bool ok and, if ok, the answer:
//	             1  key: uvarint cgroup id    answer: string path
//	             2  key: uvarint tgid         answer: string executable, string cgroup, uvarint start ticks
//	             3  key: uvarint address      answer: string name, uvarint offset, string module
//	             4  key: string, uvarint      answer: string name
//	             5  key: uvarint inode        answer: bool host, string cgroup, uvarint start
//	           Ask counts the questions for this key from 1: the answer holds from that ask on, until the
//	           next fact for the same key. An answer that repeats itself is thus written once.
//	           0 means the ask after the latest one that was written.
//	6 end      uvarint number of frames before this one; the file ends here
//
// A file without an end frame was cut short (ErrTruncated). Times are nanoseconds of CLOCK_MONOTONIC.
// Empty and absent lists are not told apart: both come back as nil.
package recording
