package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxDataSources bounds the data sources of a machine: each has connections.
	MaxDataSources = 64
	// maxStatements bounds the statements of a data source, and maxFields what one of them
	// has of parameters or columns.
	maxStatements = 1000
	maxFields     = 256
)

// DataSource is datasource/NAME.toml: a data source of the SFUs of this machine.
type DataSource struct {
	Name             string // the file's
	Connection       string // of ODBC, without user and password
	User             string // empty: the connection has none
	Startup          []string
	SFUs             []string // that use it; empty: those of this machine of type all and data
	Connections      int
	ConnectTimeout   time.Duration
	Timeout          time.Duration
	Idle             time.Duration
	Check            string
	NonTransactional string // a query, or TablesTransactional
	FailOn           []string
	Keep             time.Duration // of rows of effects that are over
	Statements       []DataStatement
}

// TablesTransactional is the DataSource.NonTransactional of a database all of whose tables
// can be rolled back.
const TablesTransactional = "none"

// DataStatement is a named statement.
type DataStatement struct {
	Name       string
	SQL        string
	Parameters []DataField
	Columns    []DataField
	Rows       int64 // -1: any number
	Timeout    time.Duration
	Roles      []DataRole
}

// DataRole is whose users may read by a statement.
type DataRole string

// The roles of users.
const (
	DataClient   DataRole = "client"
	DataOperator DataRole = "operator"
	DataAuditor  DataRole = "auditor"
)

// DataField is a parameter or a column: "amount decimal(18,2) or null".
type DataField struct {
	Name     string
	Type     string // one of DataTypes
	Size     int    // characters, bytes or digits; 0: the default
	Scale    int    // digits after the point
	Digits   int    // of a second; -1: the default
	Nullable bool
}

// DataTypes are the types of parameters and columns, and what may stand in parentheses
// behind them: how many numbers, at most.
var DataTypes = map[string]int{
	"text": 1, "integer": 0, "decimal": 2, "float": 0, "boolean": 0, "bytes": 1,
	"date": 0, "time_of_day": 1, "timestamp": 1, "local_timestamp": 1,
}

const dataSourceComment = `A data source: a database that is reached through ODBC. Its name is the file's name.
The password is the file keys/SFU/datasource-NAME.password, which others than the group rrts cannot read.
A value that is commented out is the default.`

var fieldForm = regexp.MustCompile(`^([a-z][a-z0-9_.-]{0,63}) ([a-z_]+)(?:\(([0-9]{1,7})(?:, ?([0-9]{1,3}))?\))?( or null)?$`)

// dataField is how a parameter or a column is written.
var dataField = quoted(`a name and a type, in quotes, such as "amount decimal(18,2)" or "note text(200) or null"; the types are boolean, bytes(N), date, decimal(N,N), float, integer, local_timestamp(N), text(N), time_of_day(N), timestamp(N)`,
	func(s string) (DataField, string) {
		m := fieldForm.FindStringSubmatch(s)
		if m == nil {
			return DataField{}, "is " + strconv.Quote(s)
		}
		numbers, known := DataTypes[m[2]]
		given := 0
		for _, n := range m[3:5] {
			if n != "" {
				given++
			}
		}
		if !known || given > numbers || m[2] == "decimal" && given == 1 {
			return DataField{}, "is " + strconv.Quote(s)
		}
		f := DataField{Name: m[1], Type: m[2], Digits: -1, Nullable: m[5] != ""}
		first, _ := strconv.Atoi(m[3])
		switch {
		case given == 0:
		case strings.HasPrefix(f.Type, "time") || f.Type == "local_timestamp":
			f.Digits = first
		default:
			f.Size = first
			f.Scale, _ = strconv.Atoi(m[4])
		}
		if f.Digits > 9 || f.Scale > f.Size || given > 0 && f.Digits < 0 && f.Size == 0 {
			return DataField{}, "is " + strconv.Quote(s)
		}
		return f, ""
	}, func(f DataField) string {
		s := f.Name + " " + f.Type
		switch {
		case f.Type == "decimal" && f.Size > 0:
			s += fmt.Sprintf("(%d,%d)", f.Size, f.Scale)
		case f.Size > 0:
			s += fmt.Sprintf("(%d)", f.Size)
		case f.Digits >= 0 && f.Type != "":
			s += fmt.Sprintf("(%d)", f.Digits)
		}
		if f.Nullable {
			s += " or null"
		}
		return s
	})

// sqlText is an SQL statement.
var sqlText = quoted("an SQL statement in quotes, of at most 65536 bytes", func(s string) (string, string) {
	if strings.TrimSpace(s) == "" || len(s) > 65536 || strings.ContainsRune(s, 0) {
		return "", fmt.Sprintf("is empty, %d bytes long or has a zero byte", len(s))
	}
	return s, ""
}, func(s string) string { return s })

// secretWords are the attributes of a connection string that name a user or hold a
// password.
var secretWords = regexp.MustCompile(`(?i)(^|;)\s*(pwd|password|uid|user|username)\s*=`)

var connectionString = quoted(`a connection string of ODBC in quotes, such as "Driver=PostgreSQL Unicode;Servername=db.example;Database=shop"`,
	func(s string) (string, string) {
		switch {
		case s == "" || len(s) > 4096 || strings.ContainsAny(s, "\x00\r\n"):
			return "", fmt.Sprintf("is %d bytes long, or more than one line", len(s))
		case secretWords.MatchString(s):
			return "", `names a user or a password, which have their places: user = "NAME" here, and the file keys/SFU/datasource-NAME.password`
		}
		return s, ""
	}, func(s string) string { return s })

var statementName = matching(`1 to 64 letters a-z, digits, "-", "_" and ".", in quotes, such as "add-order"`, regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`))

var databaseUser = quoted("the name of a user of the database, in quotes", func(s string) (string, string) {
	if s == "" || len(s) > 128 || strings.ContainsAny(s, "\x00\r\n;{}") {
		return "", "is " + strconv.Quote(s)
	}
	return s, ""
}, func(s string) string { return s })

var sqlState = matching(`an SQLSTATE or its beginning, with "/NUMBER" of the database behind it or not, in quotes, such as "23" or "HY000/19"`, regexp.MustCompile(`^[0-9A-Z]{1,5}(/-?[0-9]{1,10})?$`))

func (s *DataSource) keys(k *keys) {
	key(k, "connection", &s.Connection, must[string](`write connection = "Driver=…;Database=…"`), connectionString,
		"How the database is reached: a connection string of ODBC, whose drivers `odbcinst -q -d` lists. Without user and password.")
	key(k, "user", &s.User, optional[string](`"rrts"`), databaseUser,
		"The user of the database. Its password is the file keys/SFU/datasource-NAME.password: one line.")
	key(k, "startup", &s.Startup, optional[[]string](`["SET TIME ZONE 'UTC'"]`), list(sqlText, 16),
		"Statements that every new connection begins with. Let the session's time zone be UTC: timestamps come and go in it.")
	key(k, "sfus", &s.SFUs, optional[[]string](`["alpha"]`), list(sfuName, MaxSFUs),
		"The SFUs that use it. Default: every one of this machine of type all or data.")
	key(k, "connections", &s.Connections, otherwise(8), integer(1, 1000),
		"Connections at once. A database that is a file takes 1.")
	key(k, "connect_timeout", &s.ConnectTimeout, otherwise(10*time.Second), duration(100*time.Millisecond, 10*time.Minute),
		"How long the making of a connection may take.")
	key(k, "timeout", &s.Timeout, otherwise(10*time.Second), duration(100*time.Millisecond, time.Hour),
		"How long a statement may take, and a write with all that belongs to it.")
	key(k, "idle", &s.Idle, otherwise(time.Minute), duration(time.Second, 24*time.Hour),
		"How long a connection is kept that nobody uses.")
	key(k, "check", &s.Check, otherwise("SELECT 1"), sqlText,
		"The query by which the database is asked whether it is well.")
	key(k, "nontransactional", &s.NonTransactional, optional[string](`"none"`), sqlText,
		"Needed for writes: a query that answers the names of the tables which cannot be rolled back, such as those of MyISAM; writes to them are refused. \"none\" says that the database has no such tables, as PostgreSQL and SQLite.")
	key(k, "fail_on", &s.FailOn, otherwise([]string{"22", "23"}), list(sqlState, 64),
		"The SQLSTATEs by which the database refuses a write for good, such as a constraint. Other errors are tried again.")
	key(k, "keep", &s.Keep, otherwise(30*24*time.Hour), duration(7*24*time.Hour, 3650*24*time.Hour),
		"How long the rows of the table rrts_effect are kept whose effects are over. No backup of the cluster that is older may be restored and have its effects released: it would do them again.")
	k.sections("statement", "The statements, one [[statement]] each. Clients name them and give values; they never send SQL.", len(s.Statements),
		func(n int) { s.Statements = make([]DataStatement, n) },
		func(i int, k *keys) {
			if k.ref != nil && len(s.Statements) == 0 {
				s.Statements = make([]DataStatement, 1)
			}
			s.Statements[i].keys(k)
		})
}

func (st *DataStatement) keys(k *keys) {
	key(k, "name", &st.Name, must[string](`write name = "add-order"`), statementName,
		"By which it is called.")
	key(k, "sql", &st.SQL, must[string](`write sql = "INSERT INTO orders (id) VALUES (?)"`), sqlText,
		"One statement, with a ? for each parameter.")
	key(k, "parameters", &st.Parameters, optional[[]DataField](`["id integer", "note text(200) or null"]`), list(dataField, maxFields),
		"The parameters in the order of their question marks, each with its type. One that stands there twice is given once.")
	key(k, "columns", &st.Columns, optional[[]DataField](`["id integer", "amount decimal(18,2)"]`), list(dataField, maxFields),
		"What a query answers, in its order. A statement without columns is a write, for effects.")
	key(k, "rows", &st.Rows, otherwise[int64](-1), integer[int64](-1, 1<<40),
		"How many rows a write must change; it fails and is rolled back otherwise. -1 is any number.")
	key(k, "timeout", &st.Timeout, optional[time.Duration](`"1m"`), duration(100*time.Millisecond, time.Hour),
		"How long it may take, if not as the data source says.")
	key(k, "roles", &st.Roles, otherwise([]DataRole{DataOperator, DataAuditor}), list(oneOf(DataClient, DataOperator, DataAuditor), 3),
		"Whose users may read by it. Effects are owed by whoever may submit transactions.")
}

// Marshal returns the file.
func (s *DataSource) Marshal() []byte { return writeFile(dataSourceComment, s.keys) }

// Writes reports whether a statement of it writes.
func (s *DataSource) Writes() bool {
	return slices.ContainsFunc(s.Statements, func(st DataStatement) bool { return len(st.Columns) == 0 })
}

// UsedBy reports whether an SFU of this machine uses it.
func (s *DataSource) UsedBy(m *Member) bool {
	if len(s.SFUs) > 0 {
		return slices.Contains(s.SFUs, m.Name)
	}
	return m.Type == TypeAll || m.Type == TypeData
}

// DataSources reads the data sources of an SFU, in the order of their names; none is no
// error.
func (c *Config) DataSources() ([]*DataSource, error) {
	dir := filepath.Join(c.Dir, "datasource")
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{faults{openFault(dir, err, "run as root or as a member of the group rrts")}}
	}
	var all []*DataSource
	var fs faults
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".toml")
		if !ok || e.IsDir() {
			continue
		}
		d, missing := readDocument(filepath.Join(dir, e.Name()), "write one; see datasource.toml(5)")
		fs = append(fs, missing...)
		if d == nil {
			continue
		}
		s := decodeDataSource(d, name)
		fs = append(fs, d.faults...)
		if s.UsedBy(c.Self) {
			all = append(all, s)
		}
	}
	if len(all) > MaxDataSources {
		fs.add(Fault{File: dir, Problem: fmt.Sprintf("has %d data sources, at most %d are used", len(all), MaxDataSources), Cure: "remove some"})
	}
	return all, fs.err()
}

// ParseDataSource reads the file of a data source. The file's path stands in faults.
func ParseDataSource(file string, data []byte, name string) (*DataSource, error) {
	d, fs := parseDocument(file, data)
	if d == nil {
		return nil, fs.err()
	}
	s := decodeDataSource(d, name)
	return s, d.faults.err()
}

func decodeDataSource(d *document, name string) *DataSource {
	s := &DataSource{Name: name}
	readNamed(d, name, s.keys)
	if len(s.Statements) > maxStatements {
		d.fault("statement", fmt.Sprintf("has %d statements, at most %d", len(s.Statements), maxStatements), "spread them over data sources")
	}
	if s.Writes() && s.NonTransactional == "" && !d.hasFault("nontransactional") {
		d.fault("nontransactional", "missing, although there are writes", `write nontransactional = "none" if all tables of the database can be rolled back, or the query of those that cannot`)
	}
	seen := map[string]bool{}
	for i, st := range s.Statements {
		if st.Name != "" && seen[st.Name] {
			d.fault(fmt.Sprintf("statement[%d].name", i), fmt.Sprintf("is %q, as of another [[statement]]", st.Name), "call it otherwise")
		}
		seen[st.Name] = true
	}
	return s
}

// maxPasswordBytes bounds a password.
const maxPasswordBytes = 1024

// DataSourcePassword reads the password of a data source, as Secrets reads the others:
// from the directory credentials, or from keys/NAME.
func (c *Config) DataSourcePassword(credentials, source string) (string, error) {
	r := c.secretReader(credentials)
	data, path := r.file("datasource-" + source + ".password")
	password := strings.TrimRight(string(data), "\r\n")
	if data != nil && (password == "" || len(password) > maxPasswordBytes || strings.ContainsAny(password, "\r\n\x00")) {
		r.faults.add(Fault{File: path, Problem: fmt.Sprintf("is not a password: one line of 1 to %d bytes", maxPasswordBytes), Cure: "write the password of the database's user into it"})
	}
	return password, r.faults.err()
}
