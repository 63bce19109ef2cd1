// Command figures draws the figures of packaging/doc/figures: points of JSON lines as
// an SVG chart with logarithmic axes, and as CSV.
//
//	figures -x clients -y submits_per_s -series system -title … -xlabel … -ylabel … -svg FILE [-csv FILE] <lines.jsonl
//
// Each line of the input is an object; -y may name several fields, separated by commas,
// each of which is a series of its own then, called FIELD=NAME. A line without one of the
// fields is passed over.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	var s spec
	var svg, csv, y string
	flag.StringVar(&s.x, "x", "", "field of the horizontal axis")
	flag.StringVar(&y, "y", "", "fields of the vertical axis, separated by commas")
	flag.StringVar(&s.series, "series", "", "field that names the series")
	flag.StringVar(&s.title, "title", "", "title of the chart")
	flag.StringVar(&s.xLabel, "xlabel", "", "text of the horizontal axis, with its unit")
	flag.StringVar(&s.yLabel, "ylabel", "", "text of the vertical axis, with its unit")
	flag.StringVar(&svg, "svg", "", "file of the chart")
	flag.StringVar(&csv, "csv", "", "file of the points")
	flag.Parse()
	s.y = strings.Split(y, ",")
	if err := run(os.Stdin, s, svg, csv); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// spec says what is drawn.
type spec struct {
	x, series             string
	y                     []string
	title, xLabel, yLabel string
}

func run(in io.Reader, s spec, svg, csv string) error {
	all, err := read(in, s)
	if err != nil {
		return err
	}
	if svg != "" {
		if err := os.WriteFile(svg, []byte(draw(s, all)), 0o644); err != nil {
			return err
		}
	}
	if csv != "" {
		return os.WriteFile(csv, []byte(table(s, all)), 0o644)
	}
	return nil
}

// line is one series.
type line struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

// read returns the series in the order in which they first appear. A logarithmic axis
// has no place for what is not positive.
func read(in io.Reader, s spec) ([]line, error) {
	var all []line
	index := map[string]int{}
	n := 0
	for scan := bufio.NewScanner(in); scan.Scan(); {
		n++
		if strings.TrimSpace(scan.Text()) == "" {
			continue
		}
		var object map[string]any
		if err := json.Unmarshal(scan.Bytes(), &object); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		x, ok := object[s.x].(float64)
		if !ok || x <= 0 {
			continue
		}
		for _, named := range s.y {
			field, name, called := strings.Cut(named, "=")
			if !called {
				name = field
			}
			y, ok := object[field].(float64)
			if !ok || y <= 0 {
				continue
			}
			if s.series != "" {
				name = fmt.Sprint(object[s.series])
			}
			i, known := index[name]
			if !known {
				i = len(all)
				index[name] = i
				all = append(all, line{name: name})
			}
			all[i].points = append(all[i].points, point{x, y})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no line of the input has the fields")
	}
	return all, nil
}

// table is the points as CSV.
func table(s spec, all []line) string {
	var b strings.Builder
	fmt.Fprintf(&b, "series,%s,value\n", s.x)
	for _, l := range all {
		for _, p := range l.points {
			fmt.Fprintf(&b, "%s,%g,%g\n", l.name, p.x, p.y)
		}
	}
	return b.String()
}
