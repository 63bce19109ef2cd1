package schema

import (
	"errors"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers in options.proto. They are read from the options' wire form, which
// is the same whether the compiler knew the extension or, as for protoc's plugins,
// did not.
const (
	extOption     = 50001 // (rrts.service), (rrts.method)
	extUint128    = 50001
	extSensitive  = 50002
	extMaxItems   = 50003
	optNumber     = 1
	optPolicy     = 2
	optReserved   = 3
	optLane       = 2
	optIdempotent = 3
	optNotice     = 4
	optMaxBytes   = 5
)

var errOptions = errors.New("an option of rrts is malformed")

type fieldOpts struct {
	uint128, sensitive bool
	maxItems           int
}

func fieldOptions(m proto.Message) (o fieldOpts, err error) {
	err = each(m, func(number protowire.Number, v uint64, _ []byte) error {
		switch number {
		case extUint128:
			o.uint128 = v != 0
		case extSensitive:
			o.sensitive = v != 0
		case extMaxItems:
			o.maxItems = clamp(v)
		}
		return nil
	})
	return o, err
}

type serviceOpts struct {
	number, policy int
	reserved       []int
}

func serviceOptions(m proto.Message) (o serviceOpts, err error) {
	err = eachNested(m, func(number protowire.Number, v uint64, packed []byte) error {
		switch number {
		case optNumber:
			o.number = clamp(v)
		case optPolicy:
			o.policy = clamp(v)
		case optReserved:
			if packed == nil {
				o.reserved = append(o.reserved, clamp(v))
			}
			for len(packed) > 0 {
				v, n := protowire.ConsumeVarint(packed)
				if n < 0 {
					return errOptions
				}
				o.reserved, packed = append(o.reserved, clamp(v)), packed[n:]
			}
		}
		return nil
	})
	slices.Sort(o.reserved)
	return o, err
}

type methodOpts struct {
	number, lane, maxBytes int
	idempotent, notice     bool
}

func methodOptions(m proto.Message) (o methodOpts, err error) {
	o.lane = int(LaneRequest)
	err = eachNested(m, func(number protowire.Number, v uint64, _ []byte) error {
		switch number {
		case optNumber:
			o.number = clamp(v)
		case optLane:
			o.lane = clamp(v)
		case optIdempotent:
			o.idempotent = v != 0
		case optNotice:
			o.notice = v != 0
		case optMaxBytes:
			o.maxBytes = clamp(v)
		}
		return nil
	})
	return o, err
}

// clamp returns v as an int; what is too large for any option stays too large.
func clamp(v uint64) int { return int(min(v, math.MaxInt32)) }

// each calls f for every varint and bytes field of the wire form of m.
func each(m proto.Message, f func(protowire.Number, uint64, []byte) error) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return eachField(b, f)
}

// eachNested does the same for the message in m's field extOption.
func eachNested(m proto.Message, f func(protowire.Number, uint64, []byte) error) error {
	return each(m, func(number protowire.Number, _ uint64, p []byte) error {
		if number != extOption {
			return nil
		}
		return eachField(p, f)
	})
}

func eachField(b []byte, f func(protowire.Number, uint64, []byte) error) error {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errOptions
		}
		b = b[n:]
		var v uint64
		var p []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			p, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, typ, b)
		}
		if n < 0 {
			return errOptions
		}
		b = b[n:]
		if err := f(number, v, p); err != nil {
			return err
		}
	}
	return nil
}
