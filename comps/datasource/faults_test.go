//go:build cgo

package datasource_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
)

// saboteur stands between a Source and its server and counts what the Source says, one
// message each. At the chosen one it does its harm and ends every connection.
type saboteur struct {
	l  net.Listener
	to int

	mu    sync.Mutex
	at    int // the message; 0: none
	said  int
	harm  harm
	kill  func()
	conns map[net.Conn]bool
	began chan struct{} // closed when the harm was done; nil before it began
}

// harm is what happens to the chosen message.
type harm struct {
	name    string
	deliver bool // it reaches the server
	answer  bool // and the server's answer is waited for
	half    bool // and the first half of it reaches the Source
	kill    bool // the server is killed before the connections end
}

// everyKill has the server killed at each message, too, which takes minutes.
var everyKill = os.Getenv("RRTS_ODBC_EFFECTS") != ""

var harms = []harm{
	{name: "lost before it"},
	{name: "lost after it", deliver: true},
	{name: "lost with the answer", deliver: true, answer: true},
	{name: "lost within the answer", deliver: true, answer: true, half: true},
	{name: "server killed before it", kill: true},
	{name: "server killed after it", deliver: true, kill: true},
	{name: "server killed after the answer", deliver: true, answer: true, kill: true},
}

func newSaboteur(t *testing.T, to int) *saboteur {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &saboteur{l: l, to: to, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *saboteur) port() int { return p.l.Addr().(*net.TCPAddr).Port }

// arm chooses a message, counted from now.
func (p *saboteur) arm(at int, h harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.said, p.harm, p.began = at, 0, h, nil
}

// disarm reports whether the harm was done, when it is.
func (p *saboteur) disarm() bool {
	p.mu.Lock()
	p.at = 0
	began := p.began
	p.mu.Unlock()
	if began == nil {
		return false
	}
	<-began
	return true
}

func (p *saboteur) keep(c net.Conn, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
	}
}

// chosen counts a message and reports whether it is the one.
func (p *saboteur) chosen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said++
	if p.at == 0 || p.said != p.at {
		return false
	}
	p.began = make(chan struct{})
	return true
}

func (p *saboteur) serve(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.to)))
	if err != nil {
		return
	}
	defer s.Close()
	p.keep(c, true)
	defer p.keep(c, false)
	// What the server says goes to the Source, and to take once a message was chosen.
	var mu sync.Mutex
	var take chan []byte
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if err != nil {
				c.Close()
				return
			}
			mu.Lock()
			to := take
			mu.Unlock()
			if to != nil {
				select {
				case to <- append([]byte(nil), buf[:n]...):
				default:
				}
				continue
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if !p.chosen() {
			if _, err := s.Write(buf[:n]); err != nil {
				return
			}
			continue
		}
		answer := make(chan []byte, 1)
		mu.Lock()
		take = answer
		mu.Unlock()
		p.do(c, s, buf[:n], answer)
		return
	}
}

// do does the harm to a message.
func (p *saboteur) do(c, s net.Conn, message []byte, answer <-chan []byte) {
	p.mu.Lock()
	h, began := p.harm, p.began
	p.mu.Unlock()
	defer close(began)
	if h.deliver {
		s.Write(message)
	}
	if h.answer {
		select {
		case said := <-answer:
			if h.half {
				c.Write(said[:(len(said)+1)/2])
			}
		case <-time.After(100 * time.Millisecond): // some messages have none
		}
	}
	if h.kill {
		p.kill()
	}
	s.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.conns {
		other.Close()
	}
}

// everyMessage loses the connection, and kills the server, at each message of an attempt:
// before it, after it, and with its answer. What is told as done is there, and afterwards
// each effect is done once.
func everyMessage(t *testing.T, s *odbctest.Server, db *sql.DB) {
	ctx := context.Background()
	exec(t, db, "CREATE TABLE faulty (id INTEGER NOT NULL, note VARCHAR(200) NOT NULL)")
	c := config(s, "")
	id := datasource.Field{Name: "id", Type: datasource.TypeInteger}
	c.Statements = []datasource.Statement{{Name: "faulty", SQL: "INSERT INTO faulty (id, note) VALUES (?, 'x')", Parameters: []datasource.Field{id}, Rows: 1}}
	p := newSaboteur(t, s.Port)
	p.kill = func() { s.Kill() }
	through := config(s, s.Through(p.port()))
	c.Connector = through.Connector
	next := 10000
	for _, kind := range []string{"first attempt", "batch", "in doubt, new", "in doubt, done"} {
		for _, h := range harms {
			if h.kill && !everyKill {
				continue
			}
			points := 0
			for at := 1; ; at++ {
				src, err := datasource.New(c)
				if err != nil {
					t.Fatal(err)
				}
				var list []datasource.Effect
				size := 1
				if kind == "batch" {
					size = 3
				}
				for range size {
					next++
					list = append(list, effect(next, "faulty", integer("id", next)))
				}
				warm := effect(1, "faulty", integer("id", 1)) // the connection is there, with its statements
				for o := src.Do(ctx, warm); o.Class != datasource.Done; o = src.Do(ctx, warm) {
				}
				if kind == "in doubt, done" {
					want(t, kind, src.Do(ctx, list[0]), datasource.Done, "")
				}
				for i := range list {
					list[i].InDoubt = kind[0] == 'i'
				}
				p.arm(at, h)
				out := src.DoAll(ctx, list)
				harmed := p.disarm()
				if harmed && h.kill {
					s.Start()
				}
				for i, o := range out {
					n := count(t, db, "SELECT COUNT(*) FROM faulty WHERE id = ?", int64(effectID(&list[i])))
					if o.Class == datasource.Done && n != 1 {
						t.Errorf("%s: message %d %s: told as done, %d rows", kind, at, h.name, n)
					}
					if o.Class != datasource.Done {
						if o.Class != datasource.Retry {
							t.Errorf("%s: message %d %s: %v: %v", kind, at, h.name, o.Class, o.Err)
						}
						list[i].InDoubt = true
						again(t, src, list[i])
						if n := count(t, db, "SELECT COUNT(*) FROM faulty WHERE id = ?", int64(effectID(&list[i]))); n != 1 {
							t.Errorf("%s: message %d %s: %d rows in the end", kind, at, h.name, n)
						}
					}
				}
				src.Close()
				if !harmed {
					break
				}
				points++
			}
			t.Logf("%s: %s: %d messages", kind, h.name, points)
			if points == 0 {
				t.Errorf("%s: %s: at no message", kind, h.name)
			}
		}
	}
}

func effectID(e *datasource.Effect) int {
	var n int
	fmt.Sscan(string(e.Arguments[0].Value.Data), &n)
	return n
}
