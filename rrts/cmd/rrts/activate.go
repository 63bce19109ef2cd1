package main

import (
	"context"
	"errors"
	"fmt"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// activate makes the newest apply version that all SFUs know the one that entries name.
func (c *cli) activate(ctx context.Context) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	members := txnpb.MembersClient{Caller: op}
	answer, err := members.List(ctx, &txnpb.ListMembers{})
	if err != nil {
		return err
	}
	before := answer.ApplyVersion
	answer, err = members.Activate(ctx, &txnpb.ActivateVersion{})
	switch {
	case err != nil:
		return err
	case answer.Refused != "":
		return errors.New(answer.Refused)
	}
	return c.printVersions(answer, before)
}

// printVersions tells the versions, and what has become of the active one.
func (c *cli) printVersions(a *txnpb.MembersAnswer, before uint32) error {
	var rows [][]string
	for i, newest := range a.NewestVersions {
		m := &a.Roster.Members[i]
		if a.Seats[i] == txnpb.SeatNone {
			continue
		}
		if c.json {
			if err := c.out.Object(map[string]any{"sfu": m.Name, "number": m.Number, "knows": newest, "active": a.ApplyVersion, "before": before}); err != nil {
				return err
			}
			continue
		}
		known := "not heard"
		if newest > 0 {
			known = fmt.Sprint("up to ", newest)
		}
		rows = append(rows, []string{m.Name, known})
	}
	if c.json {
		return nil
	}
	if err := c.out.Table([]string{"SFU", "apply versions"}, rows); err != nil {
		return err
	}
	line := fmt.Sprintf("active: %d", a.ApplyVersion)
	if a.ApplyVersion != before {
		line = fmt.Sprintf("active: %d, it was %d", a.ApplyVersion, before)
	}
	return c.out.Table(nil, [][]string{{line}})
}
