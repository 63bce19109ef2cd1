package txn

import (
	"context"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
)

const (
	alarmUnserved = "effects-unserved"
	// unservedAfter is how long effects may wait for somebody who takes their queue: longer
	// than an SFU is gone for an upgrade or a restart, and than another takes to follow it.
	unservedAfter = 90 * time.Second
	unservedEvery = 10 * time.Second
)

// watchUnserved looks now and then whether effects wait that no SFU does. The leader
// raises the alarm.
func (c *Component) watchUnserved(ctx context.Context) {
	var u unserved
	defer u.look(c.host, nil)
	tick := time.NewTicker(unservedEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		leading := make(chan bool, 1)
		c.post(func() { leading <- c.loop.leading })
		var queues []machine.UnservedQueue
		select {
		case is := <-leading:
			if !is {
				break
			}
			var err error
			if queues, err = c.unserved(); err != nil {
				c.host.Log().Error("the outbox cannot be looked through", "err", err)
				continue
			}
		case <-ctx.Done():
			return
		}
		u.look(c.host, queues)
	}
}

func (c *Component) unserved() ([]machine.UnservedQueue, error) {
	view, err := c.store.View()
	if err != nil {
		return nil, err
	}
	queues, err := machine.Unserved(view, c.cfg.Wall(), uint64(unservedAfter))
	if cerr := view.Close(); err == nil {
		err = cerr
	}
	return queues, err
}

// unserved is the alarms of queues that nobody works on.
type unserved struct {
	standing
	before map[string]bool // by name: those that were seen at the last look
}

// look takes in which queues there are. One that is seen for the first time may have been
// set free a moment ago, by an operator who has seen to what held it up.
func (u *unserved) look(host alarms, queues []machine.UnservedQueue) {
	if u.raised == nil {
		u.raised = map[string]string{}
	}
	now := map[string]bool{}
	for _, q := range queues {
		queue := q.Service
		if q.Target != "" {
			queue += "/" + q.Target
		}
		name := alarmUnserved + "@" + queue
		if now[name] = true; u.before[name] {
			u.set(host, name, fmt.Sprintf("no SFU does the effects of %s: the first of them waits since %s; see rrts effects queues",
				queue, time.Unix(0, int64(q.Since)).UTC().Format(time.RFC3339)))
		}
	}
	for name := range u.raised {
		if !now[name] {
			u.set(host, name, "")
			delete(u.raised, name)
		}
	}
	u.before = now
}
