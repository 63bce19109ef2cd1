package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The chart's measures in pixels: the whole, and the margins around the field.
const (
	width, height            = 720, 440
	left, right, top, bottom = 80, 150, 44, 56
)

// colours tell the series apart, also for who does not see all colours (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// axis is a logarithmic one over whole powers of ten.
type axis struct {
	low, high int // exponents
	from, to  float64
}

func newAxis(all []line, of func(point) float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range all {
		for _, p := range l.points {
			low, high = min(low, math.Log10(of(p))), max(high, math.Log10(of(p)))
		}
	}
	a := axis{low: int(math.Floor(low + 1e-9)), high: int(math.Ceil(high - 1e-9)), from: from, to: to}
	if a.high == a.low {
		a.high++
	}
	return a
}

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-float64(a.low))/float64(a.high-a.low)*(a.to-a.from)
}

// label writes a power of ten.
func label(exponent int) string {
	switch {
	case exponent < 0:
		return fmt.Sprintf("%.*f", -exponent, math.Pow10(exponent))
	case exponent < 3:
		return fmt.Sprintf("%.0f", math.Pow10(exponent))
	}
	digits := "1" + strings.Repeat("0", exponent)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// draw returns the chart as SVG.
func draw(s spec, all []line) string {
	x := newAxis(all, func(p point) float64 { return p.x }, left, width-right)
	y := newAxis(all, func(p point) float64 { return p.y }, height-bottom, top)
	var b strings.Builder
	put := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#222">`, width, height)
	put(`<rect width="%d" height="%d" fill="#fff"/>`, width, height)
	put(`<text x="%d" y="24" font-size="15" font-weight="bold">%s</text>`, left, html.EscapeString(s.title))
	for e := x.low; e <= x.high; e++ {
		at := x.at(math.Pow10(e))
		put(`<path d="M%.1f %d V%d" stroke="#ddd"/>`, at, top, height-bottom)
		put(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, height-bottom+18, label(e))
	}
	for e := y.low; e <= y.high; e++ {
		at := y.at(math.Pow10(e))
		put(`<path d="M%d %.1f H%d" stroke="#ddd"/>`, left, at, width-right)
		put(`<text x="%d" y="%.1f" text-anchor="end">%s</text>`, left-8, at+4, label(e))
	}
	put(`<path d="M%d %d V%d H%d" fill="none" stroke="#222"/>`, left, top, height-bottom, width-right)
	put(`<text x="%d" y="%d" text-anchor="middle">%s</text>`, (left+width-right)/2, height-14, html.EscapeString(s.xLabel))
	put(`<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`, (top+height-bottom)/2, html.EscapeString(s.yLabel))
	for i, l := range all {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for j, p := range l.points {
			fmt.Fprintf(&path, "%c%.1f %.1f ", "ML"[min(j, 1)], x.at(p.x), y.at(p.y))
			put(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s: %g, %g</title></circle>`, x.at(p.x), y.at(p.y), colour, html.EscapeString(l.name), p.x, p.y)
		}
		put(`<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, strings.TrimSpace(path.String()), colour)
		row := top + 10 + 20*i
		put(`<path d="M%d %d h18" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`, width-right+12, row, colour, width-right+36, row+4, html.EscapeString(l.name))
	}
	put(`</svg>`)
	return b.String()
}
