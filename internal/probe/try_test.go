package probe

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

type printer struct{ f wire.Facts }

func (p printer) Begin(b *wire.Begin) { fmt.Printf("begin %+v\n", b) }
func (p printer) Conn(c *wire.ConnRecord) {
	fmt.Printf("conn kind=%d id=%x %v->%v state=%d role=%d flags=%d close=%d err=%d hs=%dus srtt=%d tx=%d rx=%d tgid=%d comm=%s netns=%d cg=%d retr=%d\n", c.Header.Kind, c.ID, c.Pair.LocalAddr(), c.Pair.RemoteAddr(), c.State, c.Role, c.Flags, c.CloseReason, c.Error, c.HandshakeUs, c.SRTTUs, c.BytesSent, c.BytesReceived, c.Owner.TGID, wire.Text(c.Comm), c.Owner.Netns, c.Owner.CgroupID, c.Retransmits)
}
func (p printer) Packet(e *wire.PacketEvent) {
	enum := map[uint32]string{wire.RecordDrop: "skb_drop_reason", wire.RecordReset: "sk_rst_reason"}[e.Header.Kind]
	name, _ := p.f.EnumName(enum, e.Reason)
	loc, _ := p.f.Symbol(e.Location)
	fmt.Printf("packet kind=%d %v->%v proto=%d reason=%d/%s has=%d loc=%s+%x dir=%d if=%s len=%d state=%d flags=%x conn=%x tgid=%d stack=%d\n", e.Header.Kind, e.Pair.LocalAddr(), e.Pair.RemoteAddr(), e.Pair.Protocol, e.Reason, name, e.HasReason, loc.Name, loc.Offset, e.Direction, wire.Text(e.Ifname), e.Length, e.TCPState, e.TCPFlags, e.ConnID, e.Owner.TGID, e.StackDepth)
}
func (p printer) Payload(r *wire.PayloadRecord, d []byte) {
	n := min(len(d), 60)
	fmt.Printf("payload conn=%x dir=%d seq=%d len=%d cap=%d flags=%d tgid=%d %q\n", r.ConnID, r.Direction, r.Sequence, r.Length, r.Captured, r.Flags, r.TGID, d[:n])
}
func (p printer) Flush(uint64) {}
func (p printer) Collect(c *wire.Collection) {
	fmt.Printf("collect counts=%d stats=%+v\n", len(c.Counts), c.Stats)
}

func TestTry(t *testing.T) {
	if sc := os.Getenv("SETUP"); sc != "" {
		out, err := exec.Command("/bin/sh", sc).CombinedOutput()
		fmt.Printf("SETUP: %s %v\n", out, err)
	}
	log, _ := zap.NewDevelopment()
	var avoid []string
	if a := os.Getenv("AVOID"); a != "" {
		avoid = strings.Split(a, ",")
	}
	s, err := Open(Config{CollectionInterval: time.Second, Scope: Scope{NetworkNamespaces: strings.Fields(os.Getenv("NS"))},
		Drops: Events{true, true, 1000}, Resets: Events{true, true, 1000}, Retransmits: Events{true, true, 1000}, Payload: Payload{true, 4096}, AvoidHooks: avoid}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if sc := os.Getenv("SCRIPT"); sc != "" {
		go func() {
			time.Sleep(time.Second)
			out, err := exec.Command("/bin/sh", sc).CombinedOutput()
			fmt.Printf("SCRIPT: %s %v\n", out, err)
		}()
	}
	d, _ := time.ParseDuration(os.Getenv("DUR"))
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx, printer{s.Facts()}); err != nil {
		t.Fatal(err)
	}
}
