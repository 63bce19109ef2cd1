package login

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// NonceSize is the length of the nonce in a sealed request, in bytes.
const NonceSize = 16

// errReplayed answers a sealed request whose nonce was spent.
var errReplayed = message.Errorf(message.Denied, "login: this request was used before: seal it again, with a new nonce")

// spend spends the nonce of a sealed request in the log, so that no login service of the
// cluster executes the request again. It does so by a transaction whose id is made of
// the nonce:
//
//	 0  48 bits  the schema's epoch, milliseconds since 1970
//	48   4 bits  8, the version (RFC 9562)
//	52  12 bits  of SHA-256("rrts login nonce 1" 0x00, sfu u16, epoch u64, nonce)
//	64   2 bits  2, the variant
//	66  62 bits  of the digest
//
// It does nothing. Its one condition, that an account of a random number does not exist,
// makes every attempt another transaction: under the same id only the first of them is
// committed, and its repetition by this very attempt gets the same answer. Ids are kept
// for days, and the keys of the schema are gone long before. A nonce is spent once the
// password was found right, so that who guesses does not fill the log.
func (l *Login) spend(ctx context.Context, in *loginpb.SealedRequest, nonce []byte) error {
	var attempt [u128.Size]byte
	if _, err := io.ReadFull(l.cfg.Rand, attempt[:]); err != nil {
		return fmt.Errorf("login: no randomness: %w", err)
	}
	tx := txnpb.Transaction{Id: nonceID(in, nonce), Preconditions: []txnpb.Precondition{{
		AccountId: u128.FromBytes(attempt), Measure: txnpb.MeasureExists, Comparison: txnpb.ComparisonEqual,
	}}}
	o, err := l.submit(ctx, 0, message.RoleSFU, message.Marshal(&tx))
	switch {
	case err != nil:
		return err
	case o.State == txnpb.StateCommitted:
		return nil
	case o.State == txnpb.StateIdReused:
		return errReplayed
	case o.State == txnpb.StateIdFromFuture:
		return message.Errorf(message.Unavailable, "login: the clock of SFU %d is minutes ahead of ledger time: set it", in.Sfu)
	}
	return message.Errorf(message.Unavailable, "login: the nonce could not be spent: %v: %s", o.State, o.Reason)
}

func nonceID(in *loginpb.SealedRequest, nonce []byte) u128.Int {
	b := append([]byte("rrts login nonce 1\x00"), byte(in.Sfu>>8), byte(in.Sfu))
	b = append(binary.BigEndian.AppendUint64(b, in.Epoch), nonce...)
	sum := sha256.Sum256(b)
	const version, variant = 8 << 12, 1 << 63
	return u128.Int{
		Hi: in.Epoch<<16 | version | binary.BigEndian.Uint64(sum[:8])>>52,
		Lo: variant | binary.BigEndian.Uint64(sum[8:16])>>2,
	}
}
