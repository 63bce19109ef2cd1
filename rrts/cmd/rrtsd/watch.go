package main

import (
	"sync/atomic"

	"virtualservicesinc.com/comps/connector"
	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// newest is the Connector that was made last: the Monitor asks it how the networks
// are, whichever life of it runs.
type newest struct {
	p atomic.Pointer[connector.Connector]
}

func (n *newest) networks() []monitorpb.NetworkStatus {
	if c := n.p.Load(); c != nil {
		return c.Networks()
	}
	return nil
}

// monitor makes the Monitor.
func (a *assembler) monitor() (engine.Component, error) {
	return monitor.New(monitor.Config{
		Engine: a.engine.Status, Progress: a.engine.Progress, Alarms: a.engine.Alarms, Networks: a.networks.networks,
	})
}
