package store

import "encoding/binary"

// appendImports appends the row of what a transaction imported; its key holds the first
// stamp of the transaction.
//
//	varints   the last stamp less the first one, and the stamp of the first transfer less
//	          that; the first timestamp of the accounts, and the last one less that; the
//	          same of the transfers
func appendImports(b []byte, i *Imports) []byte {
	for _, n := range [...]uint64{
		i.Stamps.Last - i.Stamps.First, i.TransfersAt - i.Stamps.First,
		i.Accounts.First, i.Accounts.Last - i.Accounts.First,
		i.Transfers.First, i.Transfers.Last - i.Transfers.First,
	} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// parseImports reads such a row. The error is ErrCorrupt.
func parseImports(first uint64, row []byte) (i Imports, err error) {
	r := rowReader{b: row}
	i.Stamps = Span{first, first + r.uint()}
	i.TransfersAt = first + r.uint()
	i.Accounts.First = r.uint()
	i.Accounts.Last = i.Accounts.First + r.uint()
	i.Transfers.First = r.uint()
	i.Transfers.Last = i.Transfers.First + r.uint()
	return i, r.end("imports")
}

// Imports implements View.
func (v *view) Imports(stamp uint64) (i Imports, ok bool) {
	from, to := v.rows.bounds(tableImports)
	it := v.rows.iter("imports", from, to)
	defer finish("imports", it)
	read := func() Imports {
		i, err := parseImports(suffix64(it.Key()), valueOf("imports", it))
		if err != nil {
			fail("imports", err)
		}
		return i
	}
	// The last one that began before may reach beyond the stamp.
	if it.SeekLT(v.rows.number(nil, tableImports, stamp)) {
		if i = read(); i.Stamps.Last >= stamp {
			return i, true
		}
		ok = it.Next()
	} else {
		ok = it.First()
	}
	if !ok {
		return Imports{}, false
	}
	return read(), true
}
