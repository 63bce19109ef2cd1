package backup

import (
	"bytes"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

var cluster = [16]byte{7, 15: 1}

// pair makes the two halves of a backup key.
func pair(t testing.TB, seed, secret byte) (*Keys, *OpenKeys) {
	t.Helper()
	open := OpenKeys{Cluster: cluster, Private: [32]byte{1: seed}, Secret: [32]byte{secret}}
	private, err := ecdh.X25519().NewPrivateKey(open.Private[:])
	if err != nil {
		t.Fatal(err)
	}
	return &Keys{Recipient: [32]byte(private.PublicKey().Bytes()), Secret: open.Secret}, &open
}

// chunks are some that compress, and one that does not.
func chunks(sizes ...int) []txnpb.SnapshotChunk {
	noise := rand.NewChaCha8([32]byte{1})
	var out []txnpb.SnapshotChunk
	for i, n := range sizes {
		c := txnpb.SnapshotChunk{Sequence: uint32(i), Last: i == len(sizes)-1}
		value := bytes.Repeat([]byte{byte(i)}, n)
		if i%2 == 1 {
			noise.Read(value)
		}
		c.Rows = []txnpb.Row{{Key: []byte{0, 1, 3, byte(i)}, Value: value}, {Key: []byte{0, 1, 4, byte(i)}, Value: []byte("x")}}
		out = append(out, c)
	}
	return out
}

// write makes a backup, and says where each of its chunks begins.
func write(t testing.TB, k *Keys, in []txnpb.SnapshotChunk) (file []byte, starts []int) {
	t.Helper()
	s, file, err := NewSealer(k, &txnpb.BackupHeader{ClusterId: cluster[:], Cluster: "shop", Csn: 42})
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		starts = append(starts, len(file))
		if file, err = s.Seal(file, &in[i]); err != nil {
			t.Fatal(err)
		}
	}
	return file, starts
}

// read opens a backup and returns what is in it.
func read(file []byte, k *OpenKeys) (h *txnpb.BackupHeader, out []txnpb.SnapshotChunk, err error) {
	r, err := NewReader(bytes.NewReader(file), k)
	if err != nil {
		return nil, nil, err
	}
	for {
		c, err := r.Next()
		if err == io.EOF {
			return r.Header(), out, nil
		}
		if err != nil {
			return nil, nil, err
		}
		own := txnpb.SnapshotChunk{}
		if err := own.Parse(bytes.Clone(r.plain)); err != nil {
			return nil, nil, err
		}
		if !reflect.DeepEqual(&own, c) {
			return nil, nil, errors.New("the chunk is another than what was decompressed")
		}
		out = append(out, own)
	}
}

func TestRoundTrip(t *testing.T) {
	keys, openKeys := pair(t, 1, 2)
	for _, sizes := range [][]int{{1}, {10, 20, 30}, {3 << 20, 3<<20 + 777, 1}} {
		in := chunks(sizes...)
		file, _ := write(t, keys, in)
		h, out, err := read(file, openKeys)
		if err != nil {
			t.Fatalf("%v: %v", sizes, err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("chunks of %v came out as others", sizes)
		}
		info, err := Check(bytes.NewReader(file))
		if err != nil || info.Header.Csn != 42 || h.Csn != 42 || info.Chunks != uint64(len(in)) || info.Bytes != int64(len(file)) {
			t.Fatalf("%+v, %v of %d bytes", info, err, len(file))
		}
	}
	if _, err := (&Sealer{}).Seal(nil, &chunks(MaxChunkBytes, 1)[0]); err == nil {
		t.Error("a chunk beyond the bound is sealed")
	}
}

// TestNothingIsReadable: neither rows nor their keys stand in the file, and two
// backups of the same state have nothing in common.
func TestNothingIsReadable(t *testing.T) {
	keys, _ := pair(t, 1, 2)
	in := []txnpb.SnapshotChunk{{Last: true, Rows: []txnpb.Row{{Key: []byte("the login hash"), Value: []byte("the verifier")}}}}
	a, starts := write(t, keys, in)
	b, _ := write(t, keys, in)
	if bytes.Contains(a, []byte("login hash")) || bytes.Contains(a, []byte("verifier")) {
		t.Error("a row can be read")
	}
	if bytes.Equal(a[starts[0]+4:], b[starts[0]+4:]) {
		t.Error("two backups are sealed alike")
	}
}

// TestEveryBitCounts: whatever is changed, added or taken away is found, by the
// digest and by the seal.
func TestEveryBitCounts(t *testing.T) {
	keys, openKeys := pair(t, 1, 2)
	file, _ := write(t, keys, chunks(5, 9, 2))
	refused := func(what string, bent []byte) {
		t.Helper()
		if _, err := Check(bytes.NewReader(bent)); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Check says %v", what, err)
		}
		_, _, err := read(bent, openKeys)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: the reader says %v", what, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", what, err)
		}
	}
	for i := range file {
		bent := bytes.Clone(file)
		bent[i] ^= 1 << (i % 8)
		refused(fmt.Sprintf("byte %d changed", i), bent)
		refused(fmt.Sprintf("cut at %d", i), file[:i])
	}
	refused("one byte more", append(bytes.Clone(file), 0))
	refused("twice", append(bytes.Clone(file), file...))
}

// digested makes the digest at the end anew, as somebody would who has no keys.
func digested(parts ...[]byte) []byte {
	file := bytes.Join(parts, nil)
	sum := sha256.Sum256(file)
	return append(file, sum[:]...)
}

// TestForgery: who has no keys cannot leave anything out, move it, or bring it from
// another backup of the same cluster.
func TestForgery(t *testing.T) {
	keys, openKeys := pair(t, 1, 2)
	in := chunks(5, 9, 2, 4)
	file, at := write(t, keys, in)
	other, _ := write(t, keys, in)
	end := len(file) - sha256.Size
	head, parts := file[:at[0]], [][]byte{file[at[0]:at[1]], file[at[1]:at[2]], file[at[2]:at[3]], file[at[3]:end]}
	early := bytes.Clone(parts[1])
	early[3] |= 0x80 // says that it is the last
	for what, bent := range map[string][]byte{
		"left out":     digested(head, parts[0], parts[2], parts[3]),
		"moved":        digested(head, parts[1], parts[0], parts[2], parts[3]),
		"twice":        digested(head, parts[0], parts[0], parts[1], parts[2], parts[3]),
		"ended early":  digested(head, parts[0], early),
		"from another": digested(head, other[at[0]:at[1]], parts[1], parts[2], parts[3]),
		"other header": digested(other[:at[0]], parts[0], parts[1], parts[2], parts[3]),
	} {
		if _, err := Check(bytes.NewReader(bent)); err != nil {
			t.Errorf("%s: the digest is right, and Check says %v", what, err)
		}
		if _, _, err := read(bent, openKeys); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}

	// A backup key is public. Who has nothing else makes no backup that is believed.
	forger := *keys
	forger.Secret = [32]byte{9}
	forged, _ := write(t, &forger, in)
	if _, _, err := read(forged, openKeys); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "not written by an SFU of cluster") {
		t.Errorf("forged with the public key: %v", err)
	}
}

func TestOtherKeys(t *testing.T) {
	keys, _ := pair(t, 1, 2)
	file, _ := write(t, keys, chunks(5))
	_, stranger := pair(t, 3, 2)
	_, _, err := read(file, stranger)
	if want := `backup: of another cluster than the keys: it was sealed to another backup key than that of cluster "shop" (07000000000000000000000000000001)`; !errors.Is(err, ErrForeign) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	stranger.Cluster[0] = 8
	_, _, err = read(file, stranger)
	if want := `backup: of another cluster than the keys: it is of cluster "shop" (07000000000000000000000000000001), the keys are of cluster 08000000000000000000000000000001; use the recovery kit of that cluster`; !errors.Is(err, ErrForeign) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestRefused(t *testing.T) {
	keys, _ := pair(t, 1, 2)
	file, at := write(t, keys, chunks(5))
	long := bytes.Clone(file)
	binary.LittleEndian.PutUint32(long[at[0]:], MaxSealedBytes+1)
	header := bytes.Clone(file)
	binary.LittleEndian.PutUint32(header[10:], MaxHeaderBytes+1)
	version := bytes.Clone(file)
	version[8] = 2
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{nil, `backup: not a backup: it does not begin with "RRTSBKUP"`},
		{[]byte("PK\x03\x04 something else"), `backup: not a backup: it does not begin with "RRTSBKUP"`},
		{version, "backup: not a backup that this program reads: its format is 2, this is 1; use the rrts that made it or a newer one"},
		{header, "backup: damaged: a header of 65537 bytes, at most 65536"},
		{long, "backup: damaged: chunk 0 has 4259841 bytes, at most 4259840"},
		{file[:len(file)-1], fmt.Sprintf("backup: damaged: it ends after %d bytes, before its end mark: it was not copied whole", len(file)-1)},
		{append(bytes.Clone(file), 1), "backup: damaged: bytes stand behind its end"},
	} {
		if _, err := Check(bytes.NewReader(c.in)); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// FuzzRead feeds the decoder, also behind the seal.
func FuzzRead(f *testing.F) {
	keys, openKeys := pair(f, 1, 2)
	file, at := write(f, keys, chunks(5, 9, 2))
	f.Add(file)
	f.Add(file[:at[1]])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		info, err := Check(bytes.NewReader(in))
		if err == nil && info.Bytes != int64(len(in)) {
			t.Errorf("%d bytes of %d were read", info.Bytes, len(in))
		}
		if _, _, err2 := read(in, openKeys); err2 == nil && err != nil {
			t.Errorf("opened, although %v", err)
		}
		// The same bytes as what a chunk holds.
		z, err := decoder()
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		if plain, err := z.DecodeAll(in, nil); err == nil && len(plain) > MaxChunkBytes {
			t.Errorf("%d bytes came out of a chunk", len(plain))
		}
	})
}
