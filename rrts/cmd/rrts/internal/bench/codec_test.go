package bench

import (
	"testing"
	"time"
)

// TestCodec: every message and operation is measured, and ours allocates nothing but the
// message, the buffer or the string that is asked for.
func TestCodec(t *testing.T) {
	all, err := Codec(t.Context(), time.Millisecond, func(string, ...any) {})
	if err != nil || len(all) != 5*4 {
		t.Fatalf("%d results, %v", len(all), err)
	}
	for _, r := range all {
		if min(r.OursNs, r.ProtobufNs, r.Ratio) <= 0 || r.Bytes == 0 {
			t.Errorf("%+v", r)
		}
		allocates := r.Operation == "encode-new" || r.Operation == "decode-new" || r.Operation == "decode" && r.Message == "strings"
		if allocates != (r.OursAllocs > 0) {
			t.Errorf("%s of %s allocates %v times", r.Operation, r.Message, r.OursAllocs)
		}
	}
}
