package exec

import (
	"strings"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Columns are the fields of one kind of row in the words of the format, for programs that
// print rows one by one instead of answers.
type Columns[T any] struct{ fields []field[T] }

// The kinds of rows that queries answer with.
var (
	AccountColumns  = Columns[ledgerpb.Account]{accountFields}
	TransferColumns = Columns[ledgerpb.Transfer]{transferFields}
	BalanceColumns  = Columns[ledgerpb.AccountBalance]{balanceFields}
	EventColumns    = Columns[ledgerpb.ChangeEvent]{eventFields}
)

// Names are the fields' names.
func (c Columns[T]) Names() []string {
	names := make([]string, len(c.fields))
	for i := range c.fields {
		names[i] = c.fields[i].name
	}
	return names
}

// AppendJSON appends the row as an object with all its fields.
func (c Columns[T]) AppendJSON(b []byte, row *T) []byte { return appendObject(b, c.fields, row) }

// Texts are the row's values in the order of Names, each as in JSON but without its
// quotation marks; flags follow each other with a space between them.
func (c Columns[T]) Texts(row *T) []string {
	texts := make([]string, len(c.fields))
	for i := range c.fields {
		texts[i] = bare.Replace(string(appendValue(nil, c.fields[i].of(row))))
	}
	return texts
}

// bare takes away what numbers and lists of names have around them in JSON.
var bare = strings.NewReplacer(`"`, "", "[", "", "]", "", ",", " ")
