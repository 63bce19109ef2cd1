package describe

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestRoundTrip(t *testing.T) {
	run := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "shop", Short: "a shop"}
	root.PersistentFlags().String("config", "/etc/shop", "directory of the configuration")
	sell := &cobra.Command{Use: "sell THING", Short: "sell a thing", Long: "Sells it.", Example: "shop sell car", RunE: run}
	sell.Flags().DurationP("for", "f", time.Minute, "try for `TIME`")
	sell.Flags().Bool("cheap", false, "at half the price")
	sell.Flags().String("secret", "", "")
	if err := sell.Flags().MarkHidden("secret"); err != nil {
		t.Fatal(err)
	}
	stock := &cobra.Command{Use: "stock", Short: "what is there"}
	stock.AddCommand(&cobra.Command{Use: "count", Short: "count it", RunE: run})
	stock.AddCommand(&cobra.Command{Use: "burn", Short: "burn it", Hidden: true, RunE: run})
	root.AddCommand(sell, stock, Command())

	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"describe"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Path: "shop", Short: "a shop", Global: []Flag{{Name: "config", Value: "string", Default: "/etc/shop", Usage: "directory of the configuration"}}},
		{Path: "shop sell", Use: "shop sell THING [flags]", Short: "sell a thing", Long: "Sells it.", Example: "shop sell car", Flags: []Flag{
			{Name: "cheap", Usage: "at half the price"},
			{Name: "for", Shorthand: "f", Value: "TIME", Default: "1m0s", Usage: "try for TIME"},
		}},
		{Path: "shop stock", Short: "what is there"},
		{Path: "shop stock count", Use: "shop stock count", Short: "count it"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReadFault(t *testing.T) {
	_, err := Read(bytes.NewBufferString("{\"path\":\"shop\"}\n{\"path\":7}\n"))
	if err == nil || err.Error() != "describe: entry 2: json: cannot unmarshal number into Go struct field Entry.path of type string" {
		t.Error(err)
	}
}
