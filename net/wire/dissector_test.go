package wire_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"virtualservicesinc.com/net/wire"
	"virtualservicesinc.com/rrts/sim/require"
)

// capture is a capture file (pcap, Ethernet) of packets.
func capture(packets ...[]byte) []byte {
	var b bytes.Buffer
	write := func(v ...any) {
		for _, v := range v {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	write(uint32(0xa1b2c3d4), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1))
	for i, p := range packets {
		write(uint32(i), uint32(0), uint32(len(p)), uint32(len(p)), p)
	}
	return b.Bytes()
}

// ethernet puts a frame into a packet of an EtherType, padded as Ethernet does.
func ethernet(etherType uint16, frame []byte) []byte {
	p := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, byte(etherType>>8), byte(etherType))
	p = append(p, frame...)
	return append(p, make([]byte, max(0, 60-len(p)))...)
}

// frame is a header and bytes up to its length.
func frame(h wire.Header, change ...func([]byte)) []byte {
	b := bytes.Repeat([]byte{0xa5}, h.Length)
	h.Put(b)
	for _, c := range change {
		c(b)
	}
	return b
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The Wireshark dissector reads what this package writes, and refuses what it refuses.
func TestDissector(t *testing.T) {
	require.Tool(t, "tshark", "tshark")
	data := wire.Header{Type: wire.TypeData, Phase: 2, Length: 100, Cluster: 0xc0ffee01, SFU: 513, Slot: 7, Number: 1<<62 + 5}
	short := data
	short.Length, short.Number = wire.Overhead, 9
	initiation := wire.Header{Type: wire.TypeInitiation, Length: wire.InitiationSize, Cluster: 1, SFU: 2, Number: 77}
	response := wire.Header{Type: wire.TypeResponse, Phase: 3, Length: wire.ResponseSize, Cluster: 1, SFU: 2, Slot: 3, Number: 78}
	sealed := func(n int) string { return strings.Repeat("a5", n) }
	for _, c := range []struct {
		name      string
		etherType uint16
		frame     []byte
		want      string // type, phase, length, cluster, SFU, slot, number, attempt, length of payload, of key, of static, of hello, of tag, of padding, refused
	}{
		{"data", 0x88b5, frame(data), "3|2|100|0xc0ffee01|513|7|4611686018427387909||64||||16||"},
		{"network B, padded", 0x88b6, frame(short), "3|2|36|0xc0ffee01|513|7|9||||||16|10|"},
		{"initiation", 0x88b5, frame(initiation), "1|0|180|0x00000001|2|0||77||32|48|64|16||"},
		{"response", 0x88b5, frame(response), "2|3|132|0x00000001|2|3||78||32||64|16||"},
		{"version", 0x88b5, frame(data, func(b []byte) { b[0] = 0x23 }), "3|2|100|0xc0ffee01|513|7|4611686018427387909|||||||| version 2"},
		{"type", 0x88b5, frame(data, func(b []byte) { b[0] = 0x14 }), "4|2|100|0xc0ffee01|513|7||4611686018427387909||||||| type 4"},
		{"flags", 0x88b5, frame(data, func(b []byte) { b[1] = 0x12 }), "3|2|100|0xc0ffee01|513|7|4611686018427387909|||||||| flags 0x12"},
		{"truncated", 0x88b5, frame(data)[:90], "3|2|100|0xc0ffee01|513|7|4611686018427387909|||||||| length 100 in a packet of 90"},
		{"slot 0", 0x88b5, frame(data, func(b []byte) { b[10], b[11] = 0, 0 }), "3|2|100|0xc0ffee01|513|0|4611686018427387909|||||||| slot 0 in a frame of type data"},
		{"long initiation", 0x88b5, frame(initiation, func(b []byte) { b[3]-- }), "1|0|179|0x00000001|2|0||77||||||| initiation of 179 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := wire.ParseHeader(c.frame); (err != nil) != strings.Contains(c.want, "| ") {
				t.Fatalf("the package itself says %v", err)
			}
			file := filepath.Join(t.TempDir(), "frames.pcap")
			if err := os.WriteFile(file, capture(ethernet(c.etherType, c.frame)), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"-X", "lua_script:../../packaging/wireshark/rrts.lua", "-r", file, "-T", "fields", "-E", "separator=|"}
			fields := []string{"type", "phase", "length", "cluster", "sfu", "slot", "number", "attempt"}
			parts := []string{"payload", "ephemeral", "static", "hello", "tag", "padding"}
			for _, f := range append(fields, parts...) {
				args = append(args, "-e", "rrts."+f)
			}
			cmd := exec.Command("tshark", append(args, "-e", "_ws.expert.message")...)
			var fault bytes.Buffer
			cmd.Stderr = &fault
			out, err := cmd.Output()
			if err != nil || strings.Contains(fault.String(), "rrts.lua") {
				t.Fatalf("tshark: %v: %s", err, &fault)
			}
			got := strings.Split(strings.TrimRight(string(out), "\n"), "|")
			want := strings.Split(c.want, "|")
			if len(got) != len(want) {
				t.Fatalf("%d fields instead of %d: %s", len(got), len(want), out)
			}
			for i, w := range want {
				g := got[i]
				switch {
				case i == len(want)-1: // the refusal
					g, w = strings.TrimSpace(g), strings.TrimSpace(w)
				case i == len(want)-2 && w != "": // padding is zeros
					w = strings.Repeat("00", atoi(t, w))
				case i >= len(fields) && w != "":
					w = sealed(atoi(t, w))
				}
				if g != w {
					t.Errorf("field %d is %q, want %q", i, g, w)
				}
			}
		})
	}
}
