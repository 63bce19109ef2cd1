package entry

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func encoded(id u128.Int) []byte { return message.Marshal(&txnpb.Transaction{Id: id}) }

// TestKeyOfBounds: each bound on both of its sides.
func TestKeyOfBounds(t *testing.T) {
	// A byte string of an unknown field fills a transaction up to n bytes in all.
	fill := func(n int) []byte {
		b := encoded(u128.From64(1))
		for head := 2; ; head++ {
			if body := n - len(b) - head; message.SizeVarint(uint64(body))+1 == head {
				return append(message.AppendVarint(append(b, 0x7a), uint64(body)), make([]byte, body)...)
			}
		}
	}
	for _, c := range []struct {
		name string
		tx   []byte
		ok   bool
		id   u128.Int
	}{
		{"smallest id", encoded(u128.From64(1)), true, u128.From64(1)},
		{"largest id", encoded(u128.Max), true, u128.Max},
		{"id with leading zeros", append([]byte{0x0a, 16}, make([]byte, 15, 16)...), false, u128.Int{}},
		{"sixteen bytes of id", append([]byte{0x0a, 16, 15: 0}, 0, 9), true, u128.From64(9)},
		{"seventeen bytes of id", append([]byte{0x0a, 17, 16: 0}, 0, 9), false, u128.Int{}},
		{"the last id counts", append(encoded(u128.From64(1)), encoded(u128.From64(2))...), true, u128.From64(2)},
		{"no id", message.Marshal(&txnpb.Transaction{Mode: txnpb.ModeIndependent}), false, u128.Int{}},
		{"id 0", []byte{0x0a, 1, 0}, false, u128.Int{}},
		{"id as a number", []byte{0x08, 1}, false, u128.Int{}},
		{"nothing", nil, false, u128.Int{}},
		{"cut off", []byte{0x0a, 2, 1}, false, u128.Int{}},
		{"largest transaction", fill(MaxTransactionBytes), true, u128.From64(1)},
		{"too large", fill(MaxTransactionBytes + 1), false, u128.Int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := KeyOf(&txnpb.Submission{Transaction: c.tx})
			if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is %v", err)
			}
			if key.ID != c.id || err != nil && key != (Key{}) {
				t.Fatalf("key is %v, want id %v", key, c.id)
			}
		})
	}
}

// TestKeysTellRequestsApart: who, what and which kind of request.
func TestKeysTellRequestsApart(t *testing.T) {
	id := u128.From64(7)
	of := func(principal uint64, tx []byte, role, millis uint32) Key {
		k, err := KeyOf(&txnpb.Submission{Transaction: tx, Principal: principal, Role: role, RemainingMillis: millis})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	plain := of(1, encoded(id), 0, 0)
	if again := of(1, encoded(id), 2, 900); again != plain {
		t.Fatal("the same request is not recognised when its role or its time left is another")
	}
	other := message.Marshal(&txnpb.Transaction{Id: id, Mode: txnpb.ModeIndependent})
	keys := map[Key]string{plain: "plain"}
	for name, k := range map[string]Key{
		"another principal":         of(2, encoded(id), 0, 0),
		"other content":             of(1, other, 0, 0),
		"another id":                of(1, encoded(u128.From64(8)), 0, 0),
		"resolve":                   ResolveKey(id, 1),
		"another's resolve":         ResolveKey(id, 2),
		"resolve of who may all":    ResolveKey(id, 0),
		"resolve of another id":     ResolveKey(u128.From64(8), 1),
		"zero principal, plain":     of(0, encoded(id), 0, 0),
		"principal within its text": of(1<<56, encoded(id), 0, 0),
	} {
		if was, ok := keys[k]; ok {
			t.Fatalf("%s and %s have the same key", name, was)
		}
		keys[k] = name
	}
}

func TestTimeOf(t *testing.T) {
	for _, c := range []struct {
		hi, want uint64
	}{
		{0, 0},
		{0xffff, 0},
		{1 << 16, uint64(time.Millisecond)},
		{1_790_000_000_000<<16 | 0x7abc, 1_790_000_000_000 * uint64(time.Millisecond)},
		{18_446_744_073_709 << 16, 18_446_744_073_709_000_000},
		{18_446_744_073_710 << 16, math.MaxUint64}, // beyond what nanoseconds can tell
		{math.MaxUint64, math.MaxUint64},
	} {
		if got := TimeOf(u128.Int{Hi: c.hi, Lo: math.MaxUint64}); got != c.want {
			t.Errorf("time of %x is %d, want %d", c.hi, got, c.want)
		}
	}
}

// filled sets every field of a message, and one element of every list. Messages that hold
// themselves end somewhere.
func filled(v reflect.Value) { fill(v, 8) }

func fill(v reflect.Value, depth int) {
	if depth == 0 {
		return
	}
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Type() == reflect.TypeFor[u128.Int]():
			f.Set(reflect.ValueOf(u128.Max))
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Uint8:
			f.SetBytes([]byte("x"))
		case f.Kind() == reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			if e := f.Index(0); e.Kind() == reflect.String {
				e.SetString("x")
			} else {
				fill(e, depth-1)
			}
		case f.Kind() == reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
			fill(f.Elem(), depth-1)
		case f.Kind() == reflect.String:
			f.SetString("x")
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		default:
			f.SetUint(1)
		}
	}
}

func count(s *shape) int {
	n := 0
	for _, f := range s {
		if f != nil {
			n++
		}
	}
	return n
}

// TestShapesAreTheSchemas: a field that is added to a message must be added to a
// shape of a new apply version, and to none by mistake.
func TestShapesAreTheSchemas(t *testing.T) {
	for _, c := range []struct {
		m message.Message
		s *shape
	}{
		{&ledgerpb.Account{}, accountV1},
		{&ledgerpb.Transfer{}, transferV1},
		{&txnpb.UserChange{}, userV6},
		{&txnpb.Precondition{}, preconditionV3},
		{&txnpb.AccessChange{}, accessV3},
		{&txnpb.Label{}, labelV3},
		{&txnpb.Argument{}, argumentV6},
		{&txnpb.Effect{}, effectV6},
		{&txnpb.Continuation{}, continuationV6},
		{&txnpb.EffectChange{}, effectChangeV6},
		{&txnpb.Transaction{}, transactionV6},
		{&txnpb.Submission{}, submissionV6},
		{&txnpb.ResolveRequest{}, resolveV1},
		{&txnpb.Member{}, memberV4},
		{&txnpb.LogTerm{}, logTermV4},
		{&txnpb.Force{}, forceV4},
		{&txnpb.Roster{}, rosterV4},
		{&txnpb.RosterChange{}, changeV5},
		{&txnpb.Entry{}, entryV6},
	} {
		v := reflect.ValueOf(c.m).Elem()
		t.Run(v.Type().Name(), func(t *testing.T) {
			filled(v)
			b := message.Marshal(c.m)
			if !c.s.knows(b) {
				t.Errorf("%x is not known", b)
			}
			if n := count(c.s); n != v.NumField() {
				t.Errorf("the shape has %d fields, the message %d", n, v.NumField())
			}
		})
	}
}

// TestRefusesWhatItWouldSkip: at every depth.
func TestRefusesWhatItWouldSkip(t *testing.T) {
	unknown := []byte{15<<3 | message.WireBytes, 1, 'x'}
	nest := func(number byte, inner []byte) []byte {
		return append([]byte{number<<3 | message.WireBytes, byte(len(inner))}, inner...)
	}
	for name, b := range map[string][]byte{
		"in the transaction":             unknown,
		"in an account":                  nest(3, unknown),
		"in a transfer":                  nest(4, unknown),
		"in a user":                      nest(5, unknown),
		"in a precondition":              nest(7, unknown),
		"in an access change":            nest(8, unknown),
		"in a label":                     nest(10, unknown),
		"in an effect":                   nest(12, unknown),
		"in an argument":                 nest(12, nest(5, unknown)),
		"in what follows":                nest(12, nest(6, unknown)),
		"in what follows a failure":      nest(12, nest(7, nest(2, nest(5, unknown)))),
		"in an effect change":            nest(13, unknown),
		"a known number of another type": {1<<3 | message.WireVarint, 5},
		"accounts as a number":           {3<<3 | message.WireVarint, 5},
		"a large number":                 {0x82, 0x7d, 1, 'x'},
		"a group":                        {15<<3 | message.WireStartGroup, 15<<3 | message.WireEndGroup},
		"cut off in a list":              {4<<3 | message.WireBytes, 9, 0},
		"cut off in a scalar":            {1<<3 | message.WireBytes, 9, 0},
		"cut off in a tag":               {0x80},
	} {
		for version := uint32(1); version <= ApplyVersion; version++ {
			if KnownTransaction(append(encoded(u128.From64(1)), b...), version) {
				t.Errorf("unknown field %s: %x is known to version %d", name, b, version)
			}
		}
	}
	for name, b := range map[string][]byte{
		"in the entry":    unknown,
		"in a submission": nest(4, unknown),
		"in a resolve":    nest(6, unknown),
	} {
		for version := uint32(1); version <= ApplyVersion; version++ {
			if KnownEntry(append(message.Marshal(&txnpb.Entry{ApplyVersion: version}), b...), version) {
				t.Errorf("unknown field %s: %x is known to version %d", name, b, version)
			}
		}
	}
	for name, tx := range map[string]txnpb.Transaction{
		"preconditions": {Preconditions: make([]txnpb.Precondition, 1)}, "access": {Access: make([]txnpb.AccessChange, 1)},
		"memo": {Memo: "x"}, "metadata": {Metadata: make([]txnpb.Label, 1)}, "derived ids": {DeriveTransferIds: true},
	} {
		if b := message.Marshal(&tx); KnownTransaction(b, VersionRights-1) || !KnownTransaction(b, VersionRights) {
			t.Errorf("%s: version %d brought it", name, VersionRights)
		}
	}
	for name, tx := range map[string]txnpb.Transaction{
		"addresses": {Users: []txnpb.UserChange{{Number: 1, SealedAddress: []byte("x")}}},
		"effects":   {Effects: make([]txnpb.Effect, 1)}, "effect changes": {EffectChanges: make([]txnpb.EffectChange, 1)},
	} {
		if b := message.Marshal(&tx); KnownTransaction(b, VersionEffects-1) || !KnownTransaction(b, VersionEffects) {
			t.Errorf("%s: version %d brought it", name, VersionEffects)
		}
	}
	if b := nest(4, nest(1, unknown)); !KnownEntry(b, 1) {
		t.Error("an entry is refused for what a transaction in it holds")
	}
	change := nest(7, message.Marshal(&txnpb.RosterChange{Add: &txnpb.Member{Number: 4}}))
	if KnownEntry(change, VersionRoster-1) || !KnownEntry(change, VersionRoster) {
		t.Error("a change of the roster is version 2's")
	}
	activation := message.Marshal(&txnpb.RosterChange{Activate: ApplyVersion})
	if KnownChange(activation, VersionActivation-1) || !KnownChange(activation, VersionActivation) ||
		KnownEntry(nest(7, activation), VersionActivation-1) || !KnownEntry(nest(7, activation), VersionActivation) {
		t.Errorf("version %d brought activation", VersionActivation)
	}
	for name, b := range map[string][]byte{
		"in the change": unknown, "in a member": nest(3, unknown), "in a founding member": nest(1, nest(2, unknown)),
	} {
		for version := uint32(VersionRoster); version <= ApplyVersion; version++ {
			if KnownChange(b, version) || KnownEntry(nest(7, b), version) {
				t.Errorf("unknown field %s: %x is known to version %d", name, b, version)
			}
		}
	}
}

// FuzzKeyOf: the key names the id that execution will see, whatever the bytes, and
// depends on nothing but who and what.
func FuzzKeyOf(f *testing.F) {
	full := &txnpb.Transaction{}
	filled(reflect.ValueOf(full).Elem())
	f.Add(uint64(1), message.Marshal(full))
	f.Add(uint64(0), encoded(u128.From64(1)))
	f.Add(uint64(9), append(encoded(u128.From64(1)), encoded(u128.Max)...))
	f.Add(uint64(9), []byte{0x0a, 17, 0})
	f.Fuzz(func(t *testing.T, principal uint64, b []byte) {
		key, err := KeyOf(&txnpb.Submission{Transaction: b, Principal: principal})
		var tx txnpb.Transaction
		parsed := tx.Parse(bytes.Clone(b))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			if parsed == nil && !tx.Id.IsZero() {
				t.Fatalf("%x is a transaction with id %v: %v", b, tx.Id, err)
			}
			return
		}
		if parsed == nil && tx.Id != key.ID {
			t.Fatalf("the key of %x names %v, the transaction %v", b, key.ID, tx.Id)
		}
		if KnownTransaction(b, ApplyVersion) && parsed == nil {
			// Nothing was skipped, so what was read says it all.
			var again txnpb.Transaction
			canonical := message.Marshal(&tx)
			if err := again.Parse(canonical); err != nil || !reflect.DeepEqual(tx, again) || !KnownTransaction(canonical, ApplyVersion) {
				t.Fatalf("%x reads as %v, written again as %v (%v)", b, tx, again, err)
			}
		}
		if other, err := KeyOf(&txnpb.Submission{Transaction: b, Principal: principal + 1}); err != nil || other == key {
			t.Fatalf("another principal has the same key (%v)", err)
		}
	})
}

// TestForceIsVersion4: what came with forced recovery is unknown to what came before.
func TestForceIsVersion4(t *testing.T) {
	force := &txnpb.Force{Epoch: 2, By: 1, At: 3, LastIndex: 5, Terms: []txnpb.LogTerm{{Term: 1, FirstIndex: 1}, {Term: 3, FirstIndex: 4}}, Csn: 6}
	for name, c := range map[string]*txnpb.RosterChange{
		"a forced recovery": {Force: force}, "a roster after one": {Found: &txnpb.Roster{Force: force}},
		"an overruled member": {Found: &txnpb.Roster{Members: []txnpb.Member{{Number: 2, Overruled: true}}}},
	} {
		b := message.Marshal(c)
		if KnownChange(b, VersionForce-1) || !KnownChange(b, VersionForce) {
			t.Errorf("%s: version %d brought it", name, VersionForce)
		}
		e := message.Marshal(&txnpb.Entry{ApplyVersion: VersionForce, Change: c})
		if KnownEntry(e, VersionForce-1) || !KnownEntry(e, VersionForce) {
			t.Errorf("%s in an entry: version %d brought it", name, VersionForce)
		}
	}
}
