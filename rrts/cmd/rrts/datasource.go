package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) datasourceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "datasource",
		Short: "databases that SFUs reach through ODBC",
		Long: `Databases that SFUs reach through ODBC: /etc/rrts/datasource/NAME.toml describes one, with its statements.
The package rrts-odbc has the program that runs the drivers.`,
	}
	cmd.AddCommand(c.datasourceTestCommand(), c.datasourceInitCommand(), c.datasourceReadCommand())
	return cmd
}

// withDataSources calls f for each SFU that has data sources.
func (c *cli) withDataSources(ctx context.Context, via string, f func(name string, ds datasourcepb.DatasourceClient) error) error {
	return c.withCluster(ctx, via, func(op *client.Client, view *glance.Cluster) error {
		found := false
		for i := range view.SFUs {
			s := &view.SFUs[i]
			if !s.Reachable {
				continue
			}
			err := f(s.Name, datasourcepb.DatasourceClient{Caller: op.To(s.SFU)})
			switch {
			case errors.Is(err, &message.Error{Code: message.Unavailable}), errors.Is(err, &message.Error{Code: message.NoMethod}), errors.Is(err, &message.Error{Code: message.NotFound}):
				continue
			case errors.Is(err, errFound):
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			found = true
		}
		if !found {
			return errors.New("no SFU that can be reached has that data source: write /etc/rrts/datasource/NAME.toml, install rrts-odbc, and restart the SFU")
		}
		return nil
	})
}

// errFound ends the search for an SFU.
var errFound = errors.New("found")

// dataWithin bounds what one SFU may take for all its data sources.
const dataWithin = 30 * time.Second

func (c *cli) datasourceTestCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "test [NAME]",
		Short: "ask a data source, or all, from each SFU that uses it",
		Long: `Asks a data source, or all of them, from each SFU that uses it: whether it answers, whether the table is there
by which writes are exactly once, and whether the tables of its writes can be rolled back. The status is 1 when
one of them is not as it should be.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			bad := 0
			var rows [][]string
			err := c.withDataSources(cmd.Context(), via, func(sfu string, ds datasourcepb.DatasourceClient) error {
				ctx, stop := context.WithTimeout(cmd.Context(), dataWithin)
				defer stop()
				out, err := ds.Check(ctx, &datasourcepb.CheckRequest{Source: name})
				if err != nil {
					return err
				}
				for _, s := range out.Sources {
					state := "well"
					if s.Fault != "" {
						state = s.Fault
						bad++
					}
					if c.json {
						if err := c.out.Object(struct {
							SFU    string `json:"sfu"`
							Source string `json:"source"`
							Well   bool   `json:"well"`
							Fault  string `json:"fault,omitempty"`
							Millis uint64 `json:"millis"`
						}{sfu, s.Source, s.Fault == "", s.Fault, s.Millis}); err != nil {
							return err
						}
					}
					rows = append(rows, []string{s.Source, sfu, fmt.Sprintf("%d ms", s.Millis), state})
				}
				return nil
			})
			if err == nil && !c.json {
				err = c.out.Table([]string{"DATA SOURCE", "SFU", "TOOK", "STATE"}, rows)
			}
			if err == nil && bad > 0 {
				err = fmt.Errorf("%d of %d are not as they should be", bad, len(rows))
			}
			return err
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

func (c *cli) datasourceInitCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "make the table in a data source by which writes are exactly once",
		Long: `Makes the table rrts_effect in a data source, unless it is there, and tries that what is written to it can be
rolled back. Keep the table: RRTS finds in it what was done when an answer of the database was lost.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one data source: %s NAME", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withDataSources(cmd.Context(), via, func(_ string, ds datasourcepb.DatasourceClient) error {
				ctx, stop := context.WithTimeout(cmd.Context(), dataWithin)
				defer stop()
				out, err := ds.Init(ctx, &datasourcepb.InitRequest{Source: args[0]})
				if err != nil {
					return err
				}
				if c.json {
					err = c.out.Object(struct {
						Source string `json:"source"`
						Made   bool   `json:"made"`
					}{args[0], out.Made})
				} else if out.Made {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: the table rrts_effect was made, and can be rolled back\n", args[0])
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: the table rrts_effect is there, and can be rolled back\n", args[0])
				}
				if err != nil {
					return err
				}
				return errFound
			})
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

func (c *cli) datasourceReadCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "read NAME STATEMENT [PARAMETER:KIND=VALUE...]",
		Short: "read by a named statement of a data source",
		Long: `Reads by a named statement of a data source, as clients do. KIND is text, integer, decimal, boolean, time, bytes
(in base64) or null.`,
		Example: "  rrts datasource read shop orders id:integer=1000",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := dataArguments(args[2:])
			if err != nil {
				return usageError{err}
			}
			return c.withDataSources(cmd.Context(), via, func(_ string, ds datasourcepb.DatasourceClient) error {
				if err := c.readAll(cmd.Context(), ds, args[0], args[1], values); err != nil {
					return err
				}
				return errFound
			})
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

// dataKinds are the kinds of values by the names that people write.
var dataKinds = map[string]txnpb.ArgumentKind{
	"text": txnpb.ArgumentKindText, "integer": txnpb.ArgumentKindInteger, "decimal": txnpb.ArgumentKindDecimal, "boolean": txnpb.ArgumentKindBoolean,
	"time": txnpb.ArgumentKindTime, "bytes": txnpb.ArgumentKindBytes, "null": txnpb.ArgumentKindNull,
}

func dataArguments(args []string) ([]txnpb.Argument, error) {
	var out []txnpb.Argument
	for _, a := range args {
		left, value, ok := strings.Cut(a, "=")
		name, word, typed := strings.Cut(left, ":")
		kind, known := dataKinds[word]
		if !ok || !typed || !known {
			return nil, fmt.Errorf("%q is no parameter: write NAME:KIND=VALUE, with KIND text, integer, decimal, boolean, time, bytes or null", a)
		}
		v := []byte(value)
		if kind == txnpb.ArgumentKindBytes {
			var err error
			if v, err = base64.StdEncoding.DecodeString(value); err != nil {
				return nil, fmt.Errorf("parameter %s is not base64", name)
			}
		}
		out = append(out, txnpb.Argument{Name: name, Kind: kind, Value: v})
	}
	return out, nil
}

// readAll prints a result, page by page.
func (c *cli) readAll(ctx context.Context, ds datasourcepb.DatasourceClient, source, statement string, values []txnpb.Argument) error {
	page, err := ds.Read(ctx, &datasourcepb.ReadRequest{Source: source, Statement: statement, Arguments: values})
	if err != nil {
		return err
	}
	columns := page.Columns
	for first := true; ; first = false {
		var rows [][]string
		for _, row := range page.Rows {
			object := make(map[string]any, len(columns))
			var texts []string
			for i, cell := range row.Cells {
				text := string(cell.Value)
				object[columns[i]] = text
				switch cell.Kind {
				case txnpb.ArgumentKindNull:
					text, object[columns[i]] = "NULL", nil
				case txnpb.ArgumentKindBytes:
					text = base64.StdEncoding.EncodeToString(cell.Value)
					object[columns[i]] = text
				case txnpb.ArgumentKindBoolean:
					object[columns[i]] = text == "true"
				}
				texts = append(texts, text)
			}
			if c.json {
				if err := c.out.Object(object); err != nil {
					return err
				}
			}
			rows = append(rows, texts)
		}
		if !c.json && (first || len(rows) > 0) {
			if err := c.out.Table(columns, rows); err != nil {
				return err
			}
		}
		if page.Cursor == 0 {
			return nil
		}
		if page, err = ds.Next(ctx, &datasourcepb.NextRequest{Source: source, Cursor: page.Cursor}); err != nil {
			return err
		}
	}
}
