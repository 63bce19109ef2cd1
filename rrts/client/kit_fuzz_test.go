package client

import (
	"strings"
	"testing"
)

// FuzzKit: whatever the file holds, a kit that is returned can be used.
func FuzzKit(f *testing.F) {
	f.Add("# a comment\ncluster = \"shop\"\ncluster_id = \"0102030405060708090a0b0c0d0e0f10\"\ngateways = [\"a:1\", \"b:2\"]\nca = '''\n-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n'''\n")
	f.Add("gateways = [,,]\nca = '''")
	f.Add("gateways = [")
	f.Add("cluster = \"")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseKit(strings.NewReader(text))
		if err == nil && (len(k.Gateways) == 0 || k.ClusterID == [16]byte{} || k.RootCAs == nil) {
			t.Fatalf("%+v", k)
		}
	})
}
