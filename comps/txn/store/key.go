package store

import (
	"encoding/binary"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
)

// table is the kind of a row; see the package comment.
type table byte

const (
	tableState        table = 1
	tableMetas        table = 2
	tableAccounts     table = 3
	tableBirths       table = 4
	tableHistory      table = 5
	tableTransfers    table = 6
	tableResolutions  table = 7
	tableExpiries     table = 8
	tableTransactions table = 9
	tableLifetimes    table = 10
	tableUsers        table = 11
	tableLogins       table = 12
	tableNames        table = 13
	tableSettled      table = 14
	tableSpans        table = 15
	tableNotes        table = 16
	tableAccess       table = 17
	tableOutbox       table = 18
	tableImports      table = 19

	// From here on a store has its own rows, which are no part of the state.
	// 64 and 65 were an index without expiries.
	tableIndex   table = 66
	tableIndexed table = 67
	tableSums    table = 68
	tableFenced  table = 69
)

// format is the version of all rows.
const format = 1

// prefixLen is the length of what every key begins with.
const prefixLen = 3

// maxKeyLen is the length of the longest key with a bounded length.
const maxKeyLen = prefixLen + 2 + u128.Size + 8

// keys makes the keys of one group.
type keys struct{ group uint16 }

func (k keys) table(b []byte, t table) []byte {
	return append(binary.BigEndian.AppendUint16(b, k.group), byte(t))
}

func (k keys) number(b []byte, t table, n uint64) []byte {
	return binary.BigEndian.AppendUint64(k.table(b, t), n)
}

func (k keys) id(b []byte, t table, id u128.Int) []byte { return id.AppendKey(k.table(b, t)) }

func (k keys) name(b []byte, t table, name string) []byte { return append(k.table(b, t), name...) }

func (k keys) expiry(b []byte, expiry, ts uint64) []byte {
	return binary.BigEndian.AppendUint64(k.number(b, tableExpiries, expiry), ts)
}

func (k keys) index(b []byte, set ledger.Set, field ledger.Field, value u128.Int) []byte {
	return value.AppendKey(append(k.table(b, tableIndex), byte(set), byte(field)))
}

func (k keys) indexed(b []byte, set ledger.Set) []byte {
	return append(k.table(b, tableIndexed), byte(set))
}

// bounds returns the first key of a table and the first one behind it.
func (k keys) bounds(t table) (from, to []byte) {
	return k.table(nil, t), k.table(nil, t+1)
}

// Sensitive reports whether the row with a key may hold something sensitive, as any of
// software that this one does not know: a user's secrets, or what effects are done with.
func Sensitive(key []byte) bool {
	if len(key) < prefixLen {
		return true
	}
	switch t := table(key[prefixLen-1]); t {
	case tableUsers, tableLogins, tableOutbox:
		return true
	default:
		return t == 0 || t > tableImports
	}
}

// suffix64 returns the number at the end of a key.
func suffix64(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
