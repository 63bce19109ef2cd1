package doctor

import (
	"os"
	"strings"

	"virtualservicesinc.com/rrts/config"
)

// components holds the programs of the site to what an SFU needs of them.
func (e *examination) components() {
	names, err := config.ComponentNames(e.Dir)
	if err != nil {
		e.add(Fail, "components", "correct it", "%s", oneLine(err))
	}
	for _, name := range names {
		check := "component " + name
		c, err := config.LoadComponent(e.Dir, name)
		if err != nil {
			e.add(Fail, check, "correct the file, then: rrts component restart "+name, "%s", oneLine(err))
			continue
		}
		info, err := os.Stat(c.Executable)
		switch {
		case err != nil:
			e.add(Fail, check, "install it there, or correct executable in "+config.ComponentFile(e.Dir, name), "%s is not there", c.Executable)
			continue
		case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
			e.add(Fail, check, "run: chmod a+rx "+c.Executable, "%s cannot be executed", c.Executable)
			continue
		case info.Mode().Perm()&0o022 != 0:
			e.add(Fail, check, "run: chmod go-w "+c.Executable, "others than its owner can change %s", c.Executable)
			continue
		}
		var on []string
		for _, s := range e.sfus {
			if c.RunsOn(s.Self) {
				on = append(on, s.Self.Name)
			}
		}
		switch {
		case len(on) == 0:
			e.add(Warn, check, "name an SFU of this machine in sfus, or remove the file", "no SFU of this machine runs it")
		case c.User == config.UserSelf:
			e.add(Warn, check, `write user = "dynamic" where it is more than development`, "it runs under the user of the SFU and sees what the SFU sees")
		default:
			e.add(OK, check, "", "%s, for %s", c.Executable, strings.Join(on, ", "))
		}
	}
}
