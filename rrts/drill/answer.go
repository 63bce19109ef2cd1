package drill

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Answer is what a client was told of one transaction, and how long it had to wait.
// Times are kept in microseconds.
type Answer struct {
	Client     int
	Begin, End time.Time // of the wait for the final outcome, over all attempts
	// Failure is why the first attempt did not tell the outcome; empty if it did.
	Failure string
	Told
}

// answerLine is an Answer as one line of JSON.
type answerLine struct {
	Client  int    `json:"client"`
	BeginUs int64  `json:"begin_us"` // since 1970
	EndUs   int64  `json:"end_us"`
	Failure string `json:"failure,omitempty"`
	Tx      string `json:"tx"` // base64 of the message
	State   uint32 `json:"state"`
	Csn     uint64 `json:"csn"`
	Reason  string `json:"reason,omitempty"`
}

// AnswerWriter writes answers to a file that outlives the process, one a line. Any
// number of goroutines may use it.
type AnswerWriter struct {
	mu sync.Mutex
	to *json.Encoder
}

// NewAnswerWriter returns an AnswerWriter that writes each answer at once.
func NewAnswerWriter(to io.Writer) *AnswerWriter { return &AnswerWriter{to: json.NewEncoder(to)} }

// Write writes one answer.
func (w *AnswerWriter) Write(a Answer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Encode(answerLine{
		Client: a.Client, BeginUs: a.Begin.UnixMicro(), EndUs: a.End.UnixMicro(), Failure: a.Failure,
		Tx: base64.StdEncoding.EncodeToString(message.Marshal(a.Tx)), State: uint32(a.State), Csn: a.Csn, Reason: a.Reason,
	})
}

// ReadAnswers reads a file that an AnswerWriter wrote.
func ReadAnswers(r io.Reader) ([]Answer, error) {
	var all []Answer
	for d := json.NewDecoder(r); ; {
		var l answerLine
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("drill: line %d of what clients were told: %w", len(all)+1, err)
		}
		body, err := base64.StdEncoding.DecodeString(l.Tx)
		tx := &txnpb.Transaction{}
		if err == nil {
			err = tx.Parse(body)
		}
		if err != nil {
			return nil, fmt.Errorf("drill: line %d of what clients were told: tx: %w", len(all)+1, err)
		}
		all = append(all, Answer{
			Client: l.Client, Begin: time.UnixMicro(l.BeginUs), End: time.UnixMicro(l.EndUs), Failure: l.Failure,
			Told: Told{Tx: tx, State: txnpb.State(l.State), Csn: l.Csn, Reason: l.Reason},
		})
	}
}
