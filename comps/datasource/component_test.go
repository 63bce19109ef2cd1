package datasource

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
)

// childHost is an engine with a child process that knows its settings once it was told, and
// says of its one data source what fault says. It is used from within one synctest bubble.
type childHost struct {
	engine.Host // what the test does not use
	t           *testing.T
	revision    uint64
	fault       string
	gone        bool
	saw         *alarmtest.Record
	standing    map[string]string
}

func (h *childHost) SFU() uint16 { return 1 }

func (h *childHost) Alarm(name string, _ engine.Severity, detail string) {
	h.saw.Raise(name)
	h.standing[name] = detail
}

func (h *childHost) ClearAlarm(name string) {
	h.saw.End(name)
	delete(h.standing, name)
}

func (h *childHost) Call(c engine.Call) {
	if c.Service != datasourcepb.DatasourceService || c.Target != 1 || c.Role != message.RoleSFU {
		h.t.Errorf("a call of %d.%d at %d as %v", c.Service, c.Method, c.Target, c.Role)
	}
	reply := engine.Reply{}
	switch {
	case h.gone:
		reply.Code = message.Unavailable
	case c.Method == datasourcepb.DatasourceConfigureMethod:
		var in datasourcepb.Settings
		if err := in.Parse(c.Body); err != nil {
			h.t.Error(err)
		}
		h.revision = in.Revision
		reply.Body = message.Marshal(&datasourcepb.ConfigureReply{})
	case c.Method == datasourcepb.DatasourceCheckMethod:
		var in datasourcepb.CheckRequest
		if err := in.Parse(c.Body); err != nil {
			h.t.Error(err)
		}
		out := &datasourcepb.CheckReply{Stale: in.Revision != h.revision}
		if !out.Stale {
			out.Sources = []datasourcepb.SourceState{{Source: "shop", Fault: h.fault}}
		}
		reply.Body = message.Marshal(out)
	}
	c.Done(reply)
}

// TestHealth: a data source that is not well is an alarm until it is, and so is a child
// that does not answer; one that is new is told its settings.
func TestHealth(t *testing.T) {
	saw := &alarmtest.Record{}
	synctest.Test(t, func(t *testing.T) {
		h := &childHost{t: t, saw: saw, standing: map[string]string{}}
		c := NewComponent(&datasourcepb.Settings{Revision: 7, Sources: []datasourcepb.Source{{Name: "shop"}}}, nil)
		c.host = h
		c.link = &link{client: datasourcepb.DatasourceClient{Caller: engine.OwnCaller{Host: h}}, settings: c.settings}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.health(ctx) }()
		stands := func(want string) {
			t.Helper()
			time.Sleep(2 * checkEvery)
			synctest.Wait()
			if got := h.standing["datasource-unavailable@shop"]; (got != "") != (want != "") || want != "" && got != want {
				t.Errorf("the alarm says %q, want %q", got, want)
			}
		}
		stands("")
		if h.revision != 7 {
			t.Error("the child was not told its settings")
		}
		h.fault = "does not answer"
		stands("does not answer")
		h.fault = ""
		stands("")
		h.revision = 0 // a new child
		stands("")
		if h.revision != 7 {
			t.Error("the new child was not told its settings")
		}
		h.gone = true
		stands("datasource: the child process does not answer: unavailable")
		h.gone = false
		stands("")
		stop()
		<-ended
	})
	saw.Proves(t)
}
