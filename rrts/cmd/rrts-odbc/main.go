//go:build cgo

// Command rrts-odbc is the child process in which the ODBC drivers of an SFU's data
// sources run: it answers the service Datasource on the socket that the SFU gave it. A
// driver that dies takes this process down and nothing else. Needs cgo and unixODBC;
// rrtsd starts it.
package main

import (
	"database/sql/driver"
	"fmt"
	"os"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/site"
)

// version is set by the build.
var version = "development"

func main() {
	site.Main("rrts-odbc "+version, func(h *site.Host) error {
		s := datasource.NewServer(
			func(connection string, startup []string) driver.Connector {
				return odbc.Connector{Connection: connection, Startup: startup}
			},
			site.Context, hung)
		h.Answer(&datasourcepb.DatasourceDescriptor, func(r message.Request) { datasourcepb.ServeDatasource(s, r) })
		return nil
	})
}

// hung ends a process whose threads nobody else can free; the SFU starts another one.
func hung(source string) {
	fmt.Fprintf(os.Stderr, "<3>rrts-odbc: data source %s: every connection is in a call that its ODBC driver does not give back: starting anew\n", source)
	os.Exit(1)
}
