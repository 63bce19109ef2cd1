package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lines = `{"system":"RRTS","clients":1,"rate":900,"p99":2.5}
{"system":"etcd","clients":1,"rate":100}

{"system":"RRTS","clients":100,"rate":9000}
{"system":"RRTS","clients":4}
{"system":"RRTS","clients":0,"rate":1}
`

func TestFigures(t *testing.T) {
	dir := t.TempDir()
	svg, csv := filepath.Join(dir, "f.svg"), filepath.Join(dir, "f.csv")
	s := spec{x: "clients", y: []string{"rate=transactions"}, series: "system", title: "a < b", xLabel: "clients", yLabel: "1/s"}
	if err := run(strings.NewReader(lines), s, svg, csv); err != nil {
		t.Fatal(err)
	}
	if all, err := read(strings.NewReader(lines), spec{x: "clients", y: []string{"rate=per second", "p99"}}); err != nil || len(all) != 2 || all[0].name != "per second" || all[1].name != "p99" {
		t.Errorf("%+v, %v", all, err)
	}
	got, err := os.ReadFile(csv)
	if want := "series,clients,value\nRRTS,1,900\nRRTS,100,9000\netcd,1,100\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	f, err := os.Open(svg)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var texts []string
	circles := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "circle" {
				circles++
			}
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); s != "" {
				texts = append(texts, s)
			}
		}
	}
	all := strings.Join(texts, "|")
	for _, want := range []string{"a < b", "clients", "1/s", "RRTS", "etcd", "1|10|100", "100|1,000|10,000"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	if circles != 3 {
		t.Errorf("%d points, want 3", circles)
	}
}

func TestAxis(t *testing.T) {
	a := newAxis([]line{{points: []point{{1, 1}, {1000, 1}}}}, func(p point) float64 { return p.x }, 0, 300)
	for v, want := range map[float64]float64{1: 0, 10: 100, 1000: 300} {
		if got := a.at(v); got < want-0.001 || got > want+0.001 {
			t.Errorf("%g is at %g, want %g", v, got, want)
		}
	}
	for e, want := range map[int]string{-2: "0.01", 0: "1", 3: "1,000", 7: "10,000,000"} {
		if got := label(e); got != want {
			t.Errorf("10^%d is %q, want %q", e, got, want)
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	if err := run(strings.NewReader(lines), spec{x: "no", y: []string{"rate"}}, "", ""); err == nil {
		t.Error("no error")
	}
	if err := run(strings.NewReader("{"), spec{x: "no", y: []string{"rate"}}, "", ""); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("%v", err)
	}
}
