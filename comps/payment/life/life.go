// Package life is a payment's life as a state machine without I/O: what the ledger's
// transfers say of it, which call of the provider may be made now, what the provider's
// answer means, and where ledger and provider differ.
//
// A payment is the transfers whose user_data_128 is its id. Each does one step:
//
//	hold             clearing → merchant, pending; its id is the payment's
//	authorized       clearing → merchant, of nothing: the provider holds the money
//	captured         posts the hold, in part or whole; what is left over is free
//	voided, failed   void the hold: given up, or refused by the provider
//	refund           merchant → clearing, pending; its id is the refund's
//	refunded, refund failed   post it, void it
//	settled, fee     settled → clearing, fees → clearing: paid out by the provider
//	taken back       clearing → settled: taken by the provider out of a later payout
//
// so that the debit balance of the clearing account is what the provider still owes, and
// its pending debits what it holds:
//
//	                 ┌────────────▶ failed
//	created ─────────┼─▶ authorized ─────┬─▶ captured ─▶ settled ─▶ refunded
//	                 └───────────────────┴─▶ voided       (in any order, in part or whole)
//
// Transfers that do not touch the provider's clearing account are nobody's step, whatever
// they say: any client may make some between its own accounts.
package life

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// Accounts are where a provider's payments stand in the ledger.
type Accounts struct {
	Ledger, Code            uint32
	Clearing, Settled, Fees u128.Int // the last two 0: payouts are not followed
}

// Payment is a payment as the ledger has it.
type Payment struct {
	ID       u128.Int
	Merchant u128.Int
	Status   paymentpb.Status
	// Amounts in the smallest unit.
	Amount, Captured, Refunded, Refunding, Settled, Fee uint64
	// Authorized is the timestamp of the transfer that says so; 0: none does. Created and
	// Changed are those of the first and the newest.
	Authorized, Created, Changed uint64
	Refunds                      []Refund
	Steps                        []paymentpb.StepDone
	// Expires says that the hold has a time-out, which it must not have: the money could
	// come free while the provider still takes it.
	Expires bool
	voided  bool
}

// Refund is one refund of a payment.
type Refund struct {
	ID     u128.Int
	Amount uint64
	// What became of it; none of the two: it is under way.
	Done, Failed bool
	// TakenBack says that the provider has taken it out of a payout.
	TakenBack bool
}

// The bits of ledgerpb.Transfer.Flags that matter here.
const (
	pending = uint32(ledgerpb.TransferFlagsPending)
	post    = uint32(ledgerpb.TransferFlagsPostPendingTransfer)
	void    = uint32(ledgerpb.TransferFlagsVoidPendingTransfer)
)

// Of makes a payment of the transfers that name it, the oldest first. Where there is no
// hold of that id the status is STATUS_NONE.
func Of(at *Accounts, id u128.Int, transfers []ledgerpb.Transfer) Payment {
	p := Payment{ID: id}
	for i := range transfers {
		p.take(at, &transfers[i])
	}
	p.settle()
	return p
}

// take takes in one transfer.
func (p *Payment) take(at *Accounts, t *ledgerpb.Transfer) {
	if t.UserData128 != p.ID || t.Ledger != at.Ledger || t.DebitAccountId != at.Clearing && t.CreditAccountId != at.Clearing ||
		t.Amount.Hi != 0 || t.Amount.Lo > paymentpb.MaxAmount {
		return
	}
	step, amount := paymentpb.Step(t.UserData32), t.Amount.Lo
	if p.Created == 0 { // nothing counts before the hold
		if t.Id != p.ID || t.Flags&pending == 0 || t.DebitAccountId != at.Clearing || t.Code != at.Code || step != paymentpb.StepHold {
			return
		}
		p.Merchant, p.Amount, p.Created, p.Expires = t.CreditAccountId, amount, t.Timestamp, t.Timeout != 0
		p.note(paymentpb.StepHold, t)
		return
	}
	out := t.DebitAccountId == at.Clearing && t.CreditAccountId == p.Merchant // clearing → merchant
	back := t.CreditAccountId == at.Clearing && t.DebitAccountId == p.Merchant
	switch {
	case t.Flags&post != 0 && t.PendingId == p.ID:
		p.Captured = amount
		p.note(paymentpb.StepCaptured, t)
	case t.Flags&void != 0 && t.PendingId == p.ID:
		p.voided = true
		if step != paymentpb.StepFailed {
			step = paymentpb.StepVoided
		}
		p.note(step, t)
	case t.Flags&(post|void) != 0:
		r := p.Refund(t.PendingId)
		if r == nil {
			return
		}
		if r.Done = t.Flags&post != 0; r.Done {
			r.Amount = amount
			p.note(paymentpb.StepRefunded, t)
		} else {
			r.Failed = true
			p.note(paymentpb.StepRefundFailed, t)
		}
	case t.Flags&pending != 0:
		if back && step == paymentpb.StepRefund {
			p.Refunds = append(p.Refunds, Refund{ID: t.Id, Amount: amount})
			p.note(step, t)
		}
	case step == paymentpb.StepAuthorized && out && amount == 0:
		p.Authorized = t.Timestamp
		p.note(step, t)
	case step == paymentpb.StepSettled && t.DebitAccountId == at.Settled:
		p.Settled += amount
		p.note(step, t)
	case step == paymentpb.StepFee && t.DebitAccountId == at.Fees:
		p.Fee += amount
		p.note(step, t)
	case step == paymentpb.StepTakenBack && t.CreditAccountId == at.Settled:
		p.note(step, t)
		for i := range p.Refunds {
			if r := &p.Refunds[i]; TakenBackID(r.ID) == t.Id {
				r.TakenBack = true
			}
		}
	}
}

func (p *Payment) note(step paymentpb.Step, t *ledgerpb.Transfer) {
	p.Changed = t.Timestamp
	p.Steps = append(p.Steps, paymentpb.StepDone{Step: step, TransferId: t.Id, Amount: t.Amount.Lo, Timestamp: t.Timestamp})
}

// settle works out what follows from the steps.
func (p *Payment) settle() {
	p.Refunded, p.Refunding = 0, 0
	for _, r := range p.Refunds {
		switch {
		case r.Done:
			p.Refunded += r.Amount
		case !r.Failed:
			p.Refunding += r.Amount
		}
	}
	switch {
	case p.Created == 0:
		p.Status = paymentpb.StatusNone
	case p.Refunded > 0:
		p.Status = paymentpb.StatusRefunded
	case p.Settled+p.Fee > 0:
		p.Status = paymentpb.StatusSettled
	case p.Captured > 0:
		p.Status = paymentpb.StatusCaptured
	case p.voided && p.Has(paymentpb.StepFailed):
		p.Status = paymentpb.StatusFailed
	case p.voided:
		p.Status = paymentpb.StatusVoided
	case p.Authorized > 0:
		p.Status = paymentpb.StatusAuthorized
	default:
		p.Status = paymentpb.StatusCreated
	}
}

// Has reports whether a step was done.
func (p *Payment) Has(step paymentpb.Step) bool {
	for i := range p.Steps {
		if p.Steps[i].Step == step {
			return true
		}
	}
	return false
}

// Refund returns a refund, nil where there is none of that id.
func (p *Payment) Refund(id u128.Int) *Refund {
	for i := range p.Refunds {
		if p.Refunds[i].ID == id {
			return &p.Refunds[i]
		}
	}
	return nil
}

// refundedWith is what is given back when r is, which those that were asked for later do
// not keep from it.
func (p *Payment) refundedWith(r *Refund) (sum uint64) {
	before := true
	for i := range p.Refunds {
		x := &p.Refunds[i]
		if x.Done || before && !x.Failed {
			sum += x.Amount
		}
		before = before && x.ID != r.ID
	}
	return sum
}

// Holds reports whether the ledger holds money for it that is neither taken nor free.
func (p *Payment) Holds() bool {
	return p.Status == paymentpb.StatusCreated || p.Status == paymentpb.StatusAuthorized
}

// Word is a status for people: "captured in part" where that is so.
func (p *Payment) Word() string {
	s := StatusWord(p.Status)
	if p.Status == paymentpb.StatusCaptured && p.Captured < p.Amount || p.Status == paymentpb.StatusRefunded && p.Refunded < p.Captured {
		s += " in part"
	}
	return s
}

// StatusWord is the one word of a status.
func StatusWord(s paymentpb.Status) string {
	words := [...]string{"unknown", "created", "authorized", "captured", "voided", "failed", "settled", "refunded"}
	if int(s) < len(words) {
		return words[s]
	}
	return s.String()
}
