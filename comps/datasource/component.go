package datasource

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// Service is that of effects which are writes; their target is the data source, and
	// their operation the statement.
	Service = "sql"

	// alarmUnavailable stands for one data source each.
	alarmUnavailable = "datasource-unavailable"
	// checkEvery is how often the data sources are asked, and checkWithin how long they may
	// take for it: their own limit, with room for a driver that does not come back.
	checkEvery  = 5 * time.Second
	checkWithin = 30 * time.Second
	// batch is how many effects are done in one database transaction: more would not make
	// commits much cheaper, and hold up more effects when one of them fails.
	batch = 16
	// writeWithin bounds one call of the child: a batch that fails is done one by one.
	writeWithin = (batch + 2) * defaultTimeout
)

// Component does the effects of an SFU's data sources: it is in the engine, and the
// drivers are in the child process that answers the service Datasource on the same SFU.
// It hands the child its settings, the passwords among them, over the socket between the
// two: nothing of them stands in arguments, environment or files of the child.
type Component struct {
	settings *datasourcepb.Settings
	host     engine.Host
	link     *link
	runners  []*effects.Runner
	fault    error
}

var _ engine.Component = (*Component)(nil)

// NewComponent returns the Component of the data sources of settings, whose Revision must
// not be 0. fault is why they could not be read; it is the Component's failure then.
func NewComponent(settings *datasourcepb.Settings, fault error) *Component {
	return &Component{settings: settings, fault: fault}
}

// Name implements engine.Component.
func (c *Component) Name() string { return "datasource" }

// Services implements engine.Component; the child answers.
func (c *Component) Services() []engine.Service { return nil }

// Provision implements engine.Component.
func (c *Component) Provision(h engine.Host) error { c.host = h; return nil }

// Validate implements engine.Component.
func (c *Component) Validate() error { return c.fault }

// Start implements engine.Component.
func (c *Component) Start(context.Context) error {
	c.link = &link{client: datasourcepb.DatasourceClient{Caller: engine.OwnCaller{Host: c.host}}, settings: c.settings}
	c.host.Go("health", c.health)
	for i := range c.settings.Sources {
		src := &c.settings.Sources[i]
		if !writing(src) {
			continue
		}
		r := effects.NewRunner(effects.Config{
			CoreConfig: effects.CoreConfig{Service: Service, Target: src.Name, Parallel: max(int(src.Connections), 1), Batch: batch},
			Do:         c.link.doer(src.Name), Timeout: writeWithin,
		}, c.host)
		c.runners = append(c.runners, r)
		c.host.Go("effects of "+src.Name, r.Run)
		if src.KeepMillis > 0 {
			p := &pruner{link: c.link, txn: txnpb.TxnClient{Caller: c.host.Caller(0)}, sfu: c.host.SFU(), log: c.host.Log(), source: src}
			c.host.Go("rows of "+src.Name, p.run)
		}
	}
	c.host.Ready(true)
	return nil
}

// writing reports whether a data source has a statement that writes.
func writing(src *datasourcepb.Source) bool {
	for i := range src.Statements {
		if len(src.Statements[i].Columns) == 0 {
			return true
		}
	}
	return false
}

// Serve implements engine.Component; nothing is asked of it.
func (c *Component) Serve([]message.Request) {}

// Drain implements engine.Component: it finishes what is under way and gives the queues
// up.
func (c *Component) Drain(ctx context.Context) error {
	return effects.Drain(ctx, c.runners)
}

// Stop implements engine.Component: everything runs on goroutines of the Host's.
func (c *Component) Stop() {}

// link is the way to the child.
type link struct {
	client   datasourcepb.DatasourceClient
	settings *datasourcepb.Settings
}

// configure tells the child what it does not know: it is new.
func (l *link) configure(ctx context.Context) error {
	_, err := l.client.Configure(ctx, l.settings)
	if err != nil {
		return fmt.Errorf("datasource: the settings: %w", err)
	}
	return nil
}

// doer does the effects of one data source.
func (l *link) doer(source string) effects.DoFunc {
	return func(ctx context.Context, attempts []effects.Attempt) []effects.Result {
		in := datasourcepb.WriteBatch{Revision: l.settings.Revision, Source: source, Writes: make([]datasourcepb.Write, len(attempts))}
		for i := range attempts {
			a := &attempts[i]
			in.Writes[i] = datasourcepb.Write{
				ClusterId: a.Key.Cluster[:], TransactionId: a.Key.Transaction, Ordinal: a.Key.Ordinal,
				Statement: a.Operation, Arguments: a.Args, Fence: a.Fence,
				// One that was to be tried again may have left the answer to COMMIT unread.
				InDoubt: a.InDoubt || a.Number > 1,
			}
		}
		out, err := l.write(ctx, &in)
		results := make([]effects.Result, len(attempts))
		for i := range results {
			if err != nil {
				results[i] = effects.Retry(err)
				continue
			}
			results[i] = result(&out.Results[i])
		}
		return results
	}
}

func (l *link) write(ctx context.Context, in *datasourcepb.WriteBatch) (*datasourcepb.WriteResults, error) {
	for range 2 {
		out, err := l.client.Write(ctx, in)
		switch {
		case err != nil:
			return nil, fmt.Errorf("datasource: the child process: %w", err)
		case !out.Stale && len(out.Results) != len(in.Writes):
			return nil, fmt.Errorf("datasource: %d results of %d writes", len(out.Results), len(in.Writes))
		case !out.Stale:
			return out, nil
		}
		if err := l.configure(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("datasource: the child process does not keep its settings")
}

func result(w *datasourcepb.WriteResult) effects.Result {
	err := errors.New(w.Reason)
	switch w.Class {
	case datasourcepb.WriteClassDone:
		return effects.Done(fmt.Sprintf("rows: %d", w.Rows))
	case datasourcepb.WriteClassFailed:
		return effects.Fail(err, "")
	case datasourcepb.WriteClassMisconfigured:
		return effects.Quarantine(err)
	}
	return effects.Retry(err)
}

// health asks the data sources now and then, and tells a child that is new its settings.
func (c *Component) health(ctx context.Context) {
	faults := map[string]string{} // alarms that stand
	set := func(source, fault string) {
		name := alarmUnavailable + "@" + source
		switch {
		case fault != "" && faults[source] == "":
			c.host.Alarm(name, engine.Warning, fault)
		case fault == "" && faults[source] != "":
			c.host.ClearAlarm(name)
		}
		faults[source] = fault
	}
	defer func() {
		for source := range faults {
			set(source, "")
		}
	}()
	silent := 0
	for {
		out, err := c.link.check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			silent = 0
			for _, s := range out.Sources {
				set(s.Source, s.Fault)
			}
		default:
			// The child may be about to start: twice is not.
			if silent++; silent > 1 {
				for i := range c.settings.Sources {
					set(c.settings.Sources[i].Name, err.Error())
				}
			}
		}
		pause := checkEvery
		if err != nil && silent < 10 {
			pause = time.Second
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) check(ctx context.Context) (*datasourcepb.CheckReply, error) {
	ctx, stop := context.WithTimeout(ctx, checkWithin)
	defer stop()
	for range 2 {
		out, err := l.client.Check(ctx, &datasourcepb.CheckRequest{Revision: l.settings.Revision})
		if err != nil {
			return nil, fmt.Errorf("datasource: the child process does not answer: %w", err)
		}
		if !out.Stale {
			return out, nil
		}
		if err := l.configure(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("datasource: the child process does not keep its settings")
}
