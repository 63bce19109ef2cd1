package life

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// The accounts of the transcripts, and payment 1 with refunds 21, 22 and 23.
const (
	clearing = 10
	payouts  = 11
	fees     = 12
	merchant = 100
	customer = 200
)

var accounts = Accounts{Ledger: 978, Code: 7, Clearing: u128.From64(clearing), Settled: u128.From64(payouts), Fees: u128.From64(fees)}

// TestTranscripts reads scripts. Each line of a "ledger" is a transfer (it forgets those
// before), of a "provider" a charge, a "call" or an "event" asks.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var p Payment
		var charges []paymentpb.Charge
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "ledger":
				var all []ledgerpb.Transfer
				for line := range strings.Lines(d.Input) {
					all = append(all, transfer(t, strings.Fields(line), uint64(len(all)+1)))
				}
				p = Of(&accounts, u128.From64(1), all)
				fmt.Fprintf(&out, "%s: %d of %d captured, %d refunded, %d refunding, %d settled, %d fee\n", p.Word(), p.Captured, p.Amount, p.Refunded, p.Refunding, p.Settled, p.Fee)
				for _, s := range p.Steps {
					fmt.Fprintf(&out, "  %v %d\n", s.Step, s.Amount)
				}
			case "provider":
				charges = nil
				for line := range strings.Lines(d.Input) {
					charges = append(charges, charge(t, strings.Fields(line)))
				}
				fmt.Fprintf(&out, "%d charges\n", len(charges))
			case "call":
				for line := range strings.Lines(d.Input) {
					f := strings.Fields(line)
					c := Call{Operation: f[0], Payment: u128.From64(1)}
					if len(f) > 1 {
						c.Amount = number(t, f[1])
					}
					if len(f) > 2 {
						c.Refund = u128.From64(number(t, f[2]))
					}
					act, why := Judge(&p, &c)
					found, ref, reason := Find(&c, charges)
					fmt.Fprintf(&out, "%s: %v %s| %v %s %s\n", strings.TrimSpace(line), act, pad(why), found, ref, reason)
				}
			case "compare":
				if diff := Compare(&p, charges); diff != nil {
					fmt.Fprintf(&out, "%s: here %s; there %s\n", diff.Kind, diff.Here, diff.There)
				} else {
					out.WriteString("the same\n")
				}
			case "event":
				for line := range strings.Lines(d.Input) {
					f := strings.Fields(line)
					e := paymentpb.ChargeEvent{Payment: p.ID, Time: 77, Kind: map[string]paymentpb.ChargeEventKind{
						"released": paymentpb.ChargeEventKindReleased, "settled": paymentpb.ChargeEventKindSettled, "taken-back": paymentpb.ChargeEventKindTakenBack}[f[0]]}
					owed := false
					for _, a := range f[1:] {
						name, value, _ := strings.Cut(a, "=")
						switch name {
						case "owed":
							owed = true
						case "amount":
							e.Amount = number(t, value)
						case "fee":
							e.Fee = number(t, value)
						case "refund":
							e.Refund = u128.From64(number(t, value))
						}
					}
					fmt.Fprintf(&out, "%s:\n", strings.TrimSpace(line))
					for _, tr := range accounts.Happened(&p, &e, owed) {
						fmt.Fprintf(&out, "  %v: %v from %v to %v, flags %d, pending %v, time %d\n", paymentpb.Step(tr.UserData32), tr.Amount, tr.DebitAccountId, tr.CreditAccountId, tr.Flags, tr.PendingId, tr.UserData64)
					}
				}
			default:
				t.Fatalf("no command %q", d.Cmd)
			}
			return out.String()
		})
	})
}

func pad(s string) string {
	if s != "" {
		return "(" + s + ") "
	}
	return ""
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// transfer makes one of a line: what it is, its amount, and for some the refund's id.
func transfer(t *testing.T, f []string, stamp uint64) ledgerpb.Transfer {
	tr := ledgerpb.Transfer{Id: u128.From64(1000 + stamp), DebitAccountId: u128.From64(clearing), CreditAccountId: u128.From64(merchant), UserData128: u128.From64(1),
		Ledger: 978, Code: 7, Timestamp: stamp, Amount: u128.From64(number(t, f[1]))}
	step := func(s paymentpb.Step) { tr.UserData32 = uint32(s) }
	swap := func() { tr.DebitAccountId, tr.CreditAccountId = tr.CreditAccountId, tr.DebitAccountId }
	switch f[0] {
	case "hold":
		step(paymentpb.StepHold)
		tr.Id, tr.Flags = u128.From64(1), pending
	case "hold-that-expires":
		step(paymentpb.StepHold)
		tr.Id, tr.Flags, tr.Timeout = u128.From64(1), pending, 60
	case "hold-of-a-client": // of its own money
		step(paymentpb.StepHold)
		tr.Id, tr.Flags, tr.DebitAccountId = u128.From64(1), pending, u128.From64(customer)
	case "authorized":
		step(paymentpb.StepAuthorized)
	case "authorized-by-a-client":
		step(paymentpb.StepAuthorized)
		tr.DebitAccountId = u128.From64(customer)
	case "captured", "captured-by-hand":
		step(paymentpb.StepCaptured)
		if f[0] != "captured" { // what is not given comes from the hold
			step(paymentpb.StepHold)
		}
		tr.Flags, tr.PendingId = post, u128.From64(1)
	case "voided", "failed":
		step(paymentpb.StepVoided)
		if f[0] == "failed" {
			step(paymentpb.StepFailed)
		}
		tr.Flags, tr.PendingId = void, u128.From64(1)
	case "refund":
		step(paymentpb.StepRefund)
		swap()
		tr.Id, tr.Flags = u128.From64(number(t, f[2])), pending
	case "refunded", "refund-failed":
		step(paymentpb.StepRefunded)
		swap()
		tr.Flags, tr.PendingId = post, u128.From64(number(t, f[2]))
		if f[0] != "refunded" {
			tr.Flags = void
		}
	case "settled":
		step(paymentpb.StepSettled)
		tr.DebitAccountId, tr.CreditAccountId = accounts.Settled, accounts.Clearing
	case "settled-by-a-client":
		step(paymentpb.StepSettled)
		tr.DebitAccountId, tr.CreditAccountId = u128.From64(customer), accounts.Clearing
	case "fee":
		step(paymentpb.StepFee)
		tr.DebitAccountId, tr.CreditAccountId = accounts.Fees, accounts.Clearing
	case "taken-back":
		step(paymentpb.StepTakenBack)
		tr.Id = TakenBackID(u128.From64(number(t, f[2])))
		tr.DebitAccountId, tr.CreditAccountId = accounts.Clearing, accounts.Settled
	default:
		t.Fatalf("no transfer %q", f[0])
	}
	return tr
}

// charge makes one of a line: its status, amount, what of it was captured, and refunds.
func charge(t *testing.T, f []string) paymentpb.Charge {
	g := paymentpb.Charge{Payment: u128.From64(1), Reference: "ch_1", Amount: number(t, f[1]), Status: map[string]paymentpb.ChargeStatus{
		"authorized": paymentpb.ChargeStatusAuthorized, "captured": paymentpb.ChargeStatusCaptured, "released": paymentpb.ChargeStatusReleased,
		"failed": paymentpb.ChargeStatusFailed, "pending": paymentpb.ChargeStatusPending}[f[0]]}
	if g.Status == paymentpb.ChargeStatusUnknown {
		t.Fatalf("no status %q", f[0])
	}
	if len(f) > 2 {
		g.Captured = number(t, f[2])
	}
	for i := 3; i+1 < len(f); i += 2 {
		amount, bad := strings.CutPrefix(f[i+1], "failed:")
		r := paymentpb.ChargeRefund{Refund: u128.From64(number(t, f[i])), Reference: "re_" + f[i], Amount: number(t, amount), Failed: bad}
		if !bad {
			g.Refunded += r.Amount
		}
		g.Refunds = append(g.Refunds, r)
	}
	return g
}
