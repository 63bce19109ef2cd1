package entry

import "virtualservicesinc.com/rrts/message"

// shape is what a message may hold, by tag: nil what it may not, scalar a field
// without fields of its own. Every tag fits into one byte: numbers are below 16.
type shape [128]*shape

var scalar = new(shape)

// holding returns the shape of a message with these numbers and byte strings.
func holding(varints, strings []uint64) *shape {
	s := new(shape)
	for _, n := range varints {
		s[n<<3|message.WireVarint] = scalar
	}
	for _, n := range strings {
		s[n<<3|message.WireBytes] = scalar
	}
	return s
}

// and adds a field that is a message.
func (s *shape) and(number uint64, of *shape) *shape {
	s[number<<3|message.WireBytes] = of
	return s
}

// What apply version 1 knows. A version that adds a field adds a shape; the older
// versions go on without it.
var (
	accountV1     = holding([]uint64{7, 8, 9, 10, 11, 12}, []uint64{1, 2, 3, 4, 5, 6})
	transferV1    = holding([]uint64{7, 8, 9, 10, 11, 12, 13}, []uint64{1, 2, 3, 4, 5, 6})
	userV1        = holding([]uint64{1, 5, 6}, []uint64{2, 3, 4})
	transactionV1 = holding([]uint64{2}, []uint64{1}).and(3, accountV1).and(4, transferV1).and(5, userV1)

	submissionV1 = holding([]uint64{2, 3, 4}, []uint64{1})
	resolveV1    = holding([]uint64{2}, []uint64{1})
	entryV1      = holding([]uint64{1, 2, 3, 5}, nil).and(4, submissionV1).and(6, resolveV1)
)

// What apply version 2 knows beside it.
var (
	memberV2 = holding([]uint64{1, 10, 11}, []uint64{2, 3, 4, 5, 6, 7, 8, 9})
	rosterV2 = holding([]uint64{1, 3}, nil).and(2, memberV2)
	changeV2 = holding([]uint64{2, 4, 5, 6, 7, 8}, nil).and(1, rosterV2).and(3, memberV2)
	entryV2  = holding([]uint64{1, 2, 3, 5}, nil).and(4, submissionV1).and(6, resolveV1).and(7, changeV2)
)

// What apply version 5 knows beside it.
var (
	changeV5 = holding([]uint64{2, 4, 5, 6, 7, 8, 10}, nil).and(1, rosterV4).and(3, memberV4).and(9, forceV4)
	entryV5  = holding([]uint64{1, 2, 3, 5}, nil).and(4, submissionV1).and(6, resolveV1).and(7, changeV5)
)

// What apply version 3 knows beside it.
var (
	preconditionV3 = holding([]uint64{3, 4}, []uint64{1, 2, 5})
	accessV3       = holding([]uint64{2, 3}, []uint64{1})
	labelV3        = holding(nil, []uint64{1, 2})
	transactionV3  = holding([]uint64{2, 11}, []uint64{1, 9}).and(3, accountV1).and(4, transferV1).and(5, userV1).
			and(7, preconditionV3).and(8, accessV3).and(10, labelV3)
)

// What apply version 4 knows beside it.
var (
	memberV4  = holding([]uint64{1, 10, 11, 12}, []uint64{2, 3, 4, 5, 6, 7, 8, 9})
	logTermV4 = holding([]uint64{1, 2}, nil)
	forceV4   = holding([]uint64{1, 2, 3, 4, 6}, nil).and(5, logTermV4)
	rosterV4  = holding([]uint64{1, 3}, nil).and(2, memberV4).and(4, forceV4)
	changeV4  = holding([]uint64{2, 4, 5, 6, 7, 8}, nil).and(1, rosterV4).and(3, memberV4).and(9, forceV4)
	entryV4   = holding([]uint64{1, 2, 3, 5}, nil).and(4, submissionV1).and(6, resolveV1).and(7, changeV4)
)

// What apply version 6 knows beside it. What follows an effect holds effects again.
var (
	userV6         = holding([]uint64{1, 5, 6, 7}, []uint64{2, 3, 4, 8})
	argumentV6     = holding([]uint64{2}, []uint64{1, 3})
	effectV6       = holding(nil, []uint64{1, 2, 3, 4}).and(5, argumentV6).and(6, continuationV6).and(7, continuationV6)
	effectChangeV6 = holding([]uint64{1, 4, 5, 6, 7, 8, 9}, []uint64{2, 3, 10, 11})
	transactionV6  = holding([]uint64{2, 11}, []uint64{1, 9}).and(3, accountV1).and(4, transferV1).and(5, userV6).
			and(7, preconditionV3).and(8, accessV3).and(10, labelV3).and(12, effectV6).and(13, effectChangeV6)
	submissionV6 = holding([]uint64{2, 3, 4, 5}, []uint64{1})
	entryV6      = holding([]uint64{1, 2, 3, 5}, nil).and(4, submissionV6).and(6, resolveV1).and(7, changeV5)
)

var continuationV6 = new(shape)

func init() { continuationV6.and(1, transferV1).and(2, effectV6) }

// KnownTransaction reports whether an encoded transaction holds nothing but fields
// that an apply version has. Decoders skip what they do not know: a replica would
// execute a part of what newer software executes whole. It must have been parsed: what
// nests too deeply is not looked for here.
func KnownTransaction(b []byte, version uint32) bool {
	switch {
	case version < VersionRights:
		return transactionV1.knows(b)
	case version < VersionEffects:
		return transactionV3.knows(b)
	}
	return transactionV6.knows(b)
}

// KnownEntry reports the same of an encoded entry of an apply version, without what
// its transactions hold.
func KnownEntry(b []byte, version uint32) bool {
	switch {
	case version < VersionRoster:
		return entryV1.knows(b)
	case version < VersionForce:
		return entryV2.knows(b)
	case version < VersionActivation:
		return entryV4.knows(b)
	case version < VersionEffects:
		return entryV5.knows(b)
	}
	return entryV6.knows(b)
}

// KnownChange reports the same of an encoded change of the roster.
func KnownChange(b []byte, version uint32) bool {
	switch {
	case version < VersionForce:
		return changeV2.knows(b)
	case version < VersionActivation:
		return changeV4.knows(b)
	}
	return changeV5.knows(b)
}

// knows reports whether b is a message of this shape.
func (s *shape) knows(b []byte) bool {
	for i := 0; i < len(b); {
		tag, next := message.Varint(b, i)
		if next < 0 || tag >= uint64(len(s)) || s[tag] == nil {
			return false
		}
		if of := s[tag]; of == scalar {
			i = message.Skip(b, next, tag)
		} else {
			var inner []byte
			if inner, i = message.Bytes(b, next); i >= 0 && !of.knows(inner) {
				return false
			}
		}
		if i < 0 {
			return false
		}
	}
	return true
}
