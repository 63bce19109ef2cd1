package paymentpb

// What effects of payments are made of: see packaging/doc/payment.md.
const (
	// EffectService is the service of effects that are calls of a provider, which is their
	// target. Their key is the payment's id in decimal digits: the calls of one payment are
	// made one after the other.
	EffectService = "payment"

	// The operations.
	Authorize = "authorize"
	Capture   = "capture"
	Void      = "void"
	Refund    = "refund"

	// The arguments. Ids and amounts are integers, the others texts.
	ArgPayment     = "payment"     // of all: the id of the hold
	ArgAmount      = "amount"      // of all but Void
	ArgToken       = "token"       // of Authorize: what stands for the customer's card at the provider
	ArgDescription = "description" // of Authorize, optional: what the customer reads
	ArgRefund      = "refund"      // of Refund: the id of its pending transfer

	// LabelReference is the metadata that has the provider's name for a payment, in the
	// transaction of StepAuthorized.
	LabelReference = "payment-reference"

	// MaxAmount bounds what one payment moves, in the smallest unit of the currency: 11
	// digits, one less than the shortest number of a card.
	MaxAmount = 99_999_999_999
	// MaxToken and MaxDescription bound texts, in bytes.
	MaxToken       = 255
	MaxDescription = 500
)
