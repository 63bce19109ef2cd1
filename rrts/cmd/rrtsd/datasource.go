package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/child"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
)

// odbcProgram is the child process with the ODBC drivers, of the package rrts-odbc;
// RRTS_ODBC names another, in development.
func odbcProgram() string {
	if path := os.Getenv("RRTS_ODBC"); path != "" {
		return path
	}
	return "/usr/lib/rrts/rrts-odbc"
}

// odbcMemory bounds what the child can allocate: drivers keep results, and a statement has
// values of megabytes.
const odbcMemory = 1 << 30

// addDataSources adds the data sources' Component and its child, where the SFU has data
// sources. What is wrong with them is their failure, and never the SFU's.
func (a *assembler) addDataSources() error {
	all, err := a.cfg.DataSources()
	if err == nil && len(all) == 0 {
		return nil
	}
	if err := a.engine.AddApart(func() (engine.Component, error) { return a.odbc() }); err != nil {
		return err
	}
	return a.engine.AddApart(func() (engine.Component, error) {
		settings, err := a.dataSettings()
		return datasource.NewComponent(settings, err), nil
	})
}

// odbc makes one life of the child process.
func (a *assembler) odbc() (engine.Component, error) {
	const name = "odbc"
	log := a.log.With("sfu", a.cfg.Self.Number, "component", name)
	c := &config.Component{Name: name, Executable: odbcProgram(), User: a.odbcUser(),
		Limits: config.ComponentLimits{Memory: odbcMemory, Files: 4096, Processes: 1024}}
	return child.New(child.Config{
		Name: name, SFUName: a.cfg.Self.Name, Own: []*message.ServiceDescriptor{&datasourcepb.DatasourceDescriptor},
		Launch: func() (child.Process, error) {
			if _, err := os.Stat(c.Executable); err != nil {
				return nil, fmt.Errorf("%w: install the package rrts-odbc", err)
			}
			return a.launch(c, log)
		},
	})
}

// odbcUser is under which user the drivers run: one of their own, but for an SFU of a
// trial, which is neither root nor run by systemd.
func (a *assembler) odbcUser() string {
	if _, err := os.Stat(a.cfg.ComponentSocket()); err != nil && os.Geteuid() != 0 {
		return child.UserSelf
	}
	return child.UserDynamic
}

// dataSettings is what the child is told, as the files are now.
func (a *assembler) dataSettings() (*datasourcepb.Settings, error) {
	all, err := a.cfg.DataSources()
	if err != nil {
		return nil, err
	}
	out := &datasourcepb.Settings{}
	for _, s := range all {
		src, err := a.dataSource(s)
		if err != nil {
			return nil, err
		}
		out.Sources = append(out.Sources, *src)
	}
	sum := sha256.Sum256(message.Marshal(out))
	out.Revision = binary.BigEndian.Uint64(sum[:]) | 1
	return out, nil
}

func (a *assembler) dataSource(s *config.DataSource) (*datasourcepb.Source, error) {
	millis := func(d time.Duration) uint64 { return uint64(d.Milliseconds()) }
	src := &datasourcepb.Source{
		Name: s.Name, Connection: s.Connection, Startup: s.Startup, Connections: uint32(s.Connections),
		ConnectTimeoutMillis: millis(s.ConnectTimeout), TimeoutMillis: millis(s.Timeout), IdleMillis: millis(s.Idle),
		Check: s.Check, NonTransactional: s.NonTransactional, FailOn: s.FailOn, KeepMillis: millis(s.Keep),
	}
	if src.NonTransactional == config.TablesTransactional {
		src.NonTransactional = ""
	}
	if s.User != "" {
		password, err := a.cfg.DataSourcePassword(a.credentials, s.Name)
		if err != nil {
			return nil, err
		}
		// In braces everything but a closing one stands for itself.
		src.Connection = strings.TrimRight(src.Connection, "; ") + ";UID=" + s.User + ";PWD={" + strings.ReplaceAll(password, "}", "}}") + "}"
	}
	for _, st := range s.Statements {
		src.Statements = append(src.Statements, datasourcepb.Statement{
			Name: st.Name, Sql: st.SQL, Parameters: dataFields(st.Parameters), Columns: dataFields(st.Columns),
			Rows: st.Rows, TimeoutMillis: millis(st.Timeout), Roles: uint32(dataRoles(st.Roles)),
		})
	}
	return src, nil
}

func dataFields(in []config.DataField) []datasourcepb.Field {
	var out []datasourcepb.Field
	for _, f := range in {
		out = append(out, datasourcepb.Field{Name: f.Name, Type: f.Type, Length: uint32(f.Size), Scale: uint32(f.Scale), Digits: int32(f.Digits), Nullable: f.Nullable})
	}
	return out
}

func dataRoles(in []config.DataRole) (out message.Roles) {
	for _, r := range in {
		out |= message.RoleSet(map[config.DataRole]message.Role{config.DataClient: message.RoleClient, config.DataOperator: message.RoleOperator, config.DataAuditor: message.RoleAuditor}[r])
	}
	return out
}
