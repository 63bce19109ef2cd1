package alarm

// Kinds are all alarms that RRTS raises, and the events that have an explanation. One more is one more entry here; then run
// `make generate`, which writes the journal's catalog and the operator's page.
var Kinds = []Kind{
	{
		Name: "network-a-down", Severity: Warning, Subject: "Interconnect network A is down here or towards an SFU",
		Means: "The link to network A of this machine has no carrier or cannot send; with an SFU's number behind the alarm's " +
			"name, that SFU is heard on network B only.",
		Done: "Everything goes over network B. Nothing was lost, and duplicated traffic was not delayed. A second failure on " +
			"network B would cut the SFU off.",
		Do: "Look at cable, switch port and NIC of network A on this machine; with an SFU's number, on that SFU's machine " +
			"too. `rrts status` shows each network's counters.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "network-b-down", Severity: Warning, Subject: "Interconnect network B is down here or towards an SFU",
		Means: "The link to network B of this machine has no carrier or cannot send; with an SFU's number behind the alarm's " +
			"name, that SFU is heard on network A only.",
		Done: "Everything goes over network A. Nothing was lost, and duplicated traffic was not delayed. A second failure on " +
			"network A would cut the SFU off.",
		Do: "Look at cable, switch port and NIC of network B on this machine; with an SFU's number, on that SFU's machine " +
			"too. `rrts status` shows each network's counters.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "network-not-redundant", Severity: Warning, Subject: "This SFU has fewer than two networks",
		Means: "Of the two interconnect networks only one, or none, is usable here. That is a standing alarm where the SFU was " +
			"set up with one network only.",
		Done: "The SFU works on the network that is left.",
		Do: "Repair the other network. Where there is only one NIC, add a second one and name it in /etc/rrts/machine.toml: " +
			"until then one cable can cut this SFU off.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "network-cross-wired", Severity: Critical, Subject: "The two interconnect networks are one",
		Means: "Frames that an SFU sent on one network arrived on the other: cables are swapped or the two switches are joined.",
		Done: "Frames are taken from either network; nothing is lost. The networks are no longer independent, so one fault can " +
			"stop both. The alarm ends half a minute after the last such frame.",
		Do: "Follow the cables of the SFU that the alarm names: network A of every machine belongs to one switch, network B " +
			"to another, and nothing joins them.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "network-buffers-small", Severity: Warning, Subject: "Socket buffers are smaller than asked for",
		Means: "The kernel gave less buffer than the interconnect asked for: bursts will be lost and sent again, which costs " +
			"time.",
		Done: "The SFU works with what it was given.",
		Do: "The package sets the limits in /usr/lib/sysctl.d/60-rrts.conf. Look for a file in /etc/sysctl.d that lowers " +
			"them, then run `systemctl restart systemd-sysctl`.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "network-machine-down", Severity: Warning, Subject: "The SFUs of this machine do not reach each other",
		Means: "The Unix sockets below /run/rrts, through which the SFUs of one machine exchange frames, do not work.",
		Done:  "The SFUs of this machine take each other for lost; others are reached as before.",
		Do: "Look at the directories /run/rrts/network.a and network.b: they belong to the user rrts. Run `systemd-tmpfiles " +
			"--create rrts.conf`, then restart the SFUs one by one.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "peer-lost", Severity: Warning, Subject: "An SFU is silent",
		Means: "The SFU whose number stands behind the alarm's name is not heard on any network: it or its machine stopped " +
			"without a word, or both networks to it are cut.",
		Done: "Its work goes on in the other SFUs. If it led transactions, another one leads now. As long as most voters are " +
			"left, nothing stops and nothing is lost.",
		Do: "Look at the machine; start the SFU with `systemctl start rrts@NAME`. It catches up by itself. Until it is back, " +
			"one more loss may stop new transactions.",
		Proof: "comps/connector.TestWatch",
	},
	{
		Name: "no-leader", Severity: Critical, Subject: "The SFUs decide no transactions",
		Means: "For seconds no SFU has led the transaction group: fewer than a majority of those that vote reach each other.",
		Done: "Nothing that was committed is lost. New transactions wait and then hear that they are pending; asking again with " +
			"the same id is safe. The SFUs try on and go on by themselves as soon as enough of them are there. A witness that leads brings another SFU up to date, which then leads.",
		Do: "Start the SFUs that are down, `systemctl start rrts@NAME`, or mend the networks between them; the alarm names " +
			"those that vote. Of two SFUs both are needed after a crash of one: a third one, however small, would decide. An " +
			"SFU whose disk is lost is replaced with `rrts sfu replace NAME` once the others lead again. Where those that are " +
			"down are lost for good, switch them off, and let this one go on alone: `rrts quorum force --other-is-off`.",
		Proof: "comps/txn.TestNoLeader",
	},
	{
		Name: "disk-full", Severity: Critical, Subject: "The disk for transactions is full",
		Means: "No more room can be reserved for the journal of this SFU.",
		Done: "If it led and another SFU has room, that one leads now and work goes on there. Where none has, new " +
			"transactions are refused as overloaded; reads go on, and nothing is lost.",
		Do: "Make room on the file system that the alarm names. The SFU goes on by itself. Delete nothing below " +
			"/var/lib/rrts.",
		Proof: "comps/txn.TestFullDiskMakesRoomItself",
	},
	{
		Name: "journal-damaged", Severity: Critical, Subject: "The journal has damage",
		Means: "A part of the journal that was safely on disk does not read back as it was written: the disk or the machine's " +
			"memory is failing, or somebody changed the file.",
		Done: "This SFU neither votes nor acknowledges, so the damage can decide nothing. The other SFUs go on. What its state " +
			"does not hold already it asks of them, the journal proves that these are the lost records, and then it takes " +
			"part again and the alarm ends. If its newest vote is lost too, it waits until every other SFU with transactions " +
			"has answered. If nobody keeps the lost records any more, it takes the state of another SFU.",
		Do: "Look at the disk (`smartctl -a`) and at the memory. If the alarm stays, the journal of this SFU says which SFU " +
			"does not answer. Do not delete or edit files below /var/lib/rrts.",
		Proof: "comps/txn.TestDamagedJournal",
	},
	{
		Name: "state-diverged", Severity: Critical, Subject: "The accounts on this SFU are not what the transactions made of them",
		Means: "A row of the state does not read back as it was written, or this SFU has come to another state than most: the " +
			"disk or the machine's memory is failing, or there is a fault in the software.",
		Done: "This SFU uses its state no more. It takes the state of another SFU, holds it against its sum, and takes part " +
			"again; then the alarm ends. The others go on. Where no other SFU has the state, or no majority of states agrees, " +
			"this one halts: no transaction is decided by a state that may be wrong.",
		Do: "Look at the disk (`smartctl -a`) and at the memory. If the alarm stays, see in the journal which SFU does not " +
			"answer. Where SFUs have halted, `rrts ledger audit` on each of them, while stopped, tells which states are sound; " +
			"restore a backup with `rrts restore` if none is.",
		Proof: "comps/txn.TestRottenState",
	},
	{
		Name: "clock-unsynced", Severity: Critical, Subject: "Clocks of SFUs are more than half a second apart",
		Means: "Transactions get their time from the clock of the SFU that leads. The alarm says whether the clock of this " +
			"machine alone is wrong, or no majority of the voters' clocks agrees.",
		Done: "An SFU whose clock is wrong hands the lead over and transactions go on. Without a majority of clocks that agree " +
			"nothing is stamped: new transactions are refused as CLOCK_UNSYNCED and may be tried again with the same id; reads " +
			"go on. Nothing that was committed changes, and ledger time never goes back.",
		Do: "Set the clock of each machine right and let it be kept so: `timedatectl set-ntp true`; `timedatectl " +
			"timesync-status` tells whether it works. A clock that goes wrong again and again needs a new battery on the " +
			"mainboard. The alarm ends by itself.",
		Proof: "comps/txn.TestClockAlarm",
	},
	{
		Name: "version-unknown", Severity: Critical, Lasting: true, Subject: "The transactions need newer software than this SFU has",
		Means: "The SFUs apply transactions by rules that were activated in the whole cluster, or this SFU has met something in " +
			"the log that its software does not know.",
		Done: "This SFU applies nothing any more, answers nobody and does not lead; by guessing it would come to another state " +
			"than the others. It stores the log and votes. The other SFUs go on.",
		Do: "Install the software that the other SFUs have, `apt install rrts` from the same repository, and restart this SFU. " +
			"It catches up by itself. Older software can be installed again only until a new version was activated with " +
			"`rrts upgrade --activate`.",
		Proof: "comps/txn.TestActivatesVersions",
	},
	{
		Name: "component-failed", Severity: Warning, Subject: "A Component failed",
		Means: "The Component that the alarm names panicked or showed no life.",
		Done: "The engine restarted it alone, or tries again with growing pauses; what it was doing was given to another " +
			"instance or answered with a definite error.",
		Do: "If it stays or comes back, read what it said before: journalctl -u rrts@NAME. Report it with these lines: it is " +
			"a fault in RRTS.",
		Proof: "rrts/engine.TestRestart",
	},
	{
		Name: "requests-quarantined", Severity: Warning, Subject: "Requests are in quarantine",
		Means: "Requests that crashed their Component three times are held.",
		Done:  "They are kept sealed on disk and are not tried again by themselves. Everything else goes on.",
		Do:    "Look at them with `rrts quarantine list`, then retry or discard each.",
		Proof: "rrts/engine.TestQuarantine",
	},
	{
		Name: "site-alarm", Severity: Warning, Subject: "A Component of the site reports something",
		Means: "A program of your own, which an SFU runs as a Component, has raised this alarm. The alarm's name names the " +
			"Component and what it is about; its detail is the program's.",
		Done:  "What the program itself did, it says. RRTS goes on as before.",
		Do:    "Ask those who wrote the program. `journalctl -u 'rrts@*' RRTS_COMPONENT=NAME` shows what it wrote.",
		Proof: "rrts/engine/child.TestAlarm",
	},
	{
		Name: "engine-stalled", Severity: Critical, Subject: "The engine makes no progress",
		Means: "The engine's own loop stands still for seconds.",
		Done:  "systemd is no longer told that the SFU lives, and restarts it within ten seconds of silence.",
		Do: "Afterwards look in the journal for the goroutines that the stopped process printed, and report them: it is a " +
			"fault in RRTS, or the disk hung.",
		Proof: "comps/monitor.TestStalled",
	},
	{
		Name: "process-paused", Severity: Warning, Subject: "The process did not run",
		Means: "The whole process was not running for a while: the machine is overloaded, was suspended, or its virtual machine " +
			"was paused.",
		Done: "Judgements about other SFUs were put off by as long as the pause was.",
		Do: "Look for what takes the processor (`top`), for suspend, and for a paused virtual machine. An SFU that is paused " +
			"too long loses the lead.",
		Proof: "comps/monitor.TestPaused",
	},
	{
		Name: "mailbox-filling", Severity: Warning, Subject: "Requests queue up",
		Means: "More requests wait for the Component that the alarm names than it can be expected to handle soon.",
		Done:  "When its queue is full, further requests are answered OVERLOADED at once; clients try again with the same id.",
		Do: "Look in `rrts status` for what is slow: commit latency shows the disk, the processor time shows the machine. If " +
			"it is neither, there is more work than this machine can do.",
		Proof: "comps/monitor.TestMailboxFills",
	},
	{
		Name: "monitor-blind", Severity: Warning, Subject: "The Monitor cannot see",
		Means: "The Monitor cannot read what it needs from /proc, so figures about this SFU are old.",
		Done:  "The last figures are kept. Transactions are not affected.",
		Do: "The alarm's detail says what could not be read. A changed unit file (ProtectProc, ProcSubset) is the usual " +
			"cause: compare it with the package's.",
		Proof: "comps/monitor.TestBlind",
	},
	{
		Name: "network-lossy", Severity: Warning, Subject: "Frames are lost on the way to an SFU",
		Means: "Of the frames that this SFU sends to the one behind the alarm's name on the network before it, more are lost " +
			"than the limit network_loss of its configuration allows.",
		Done: "What was lost is sent again, on the other network where there is one. Nothing is lost for good; answers may take " +
			"some milliseconds longer.",
		Do: "Look at cable, switch port and NIC of that network: a link that fell back to 100 Mbit/s, a worn plug, or a " +
			"switch without room loses frames. `rrts top` shows the loss of each network.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "commit-slow", Severity: Warning, Subject: "Transactions take long to be committed",
		Means: "One in a hundred transactions that this SFU ordered took longer than the limit commit_latency of its " +
			"configuration, for a while.",
		Done: "Nothing is lost. Clients wait longer; when queues are full they hear OVERLOADED and try again.",
		Do: "`rrts tx trace ID` shows at which step one transaction waited. If it is the append, look at the disks (alarm " +
			"disk-slow); if it is the queue, there is more work than the cluster can do.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "replica-lagging", Severity: Warning, Subject: "This SFU is behind the others",
		Means: "The state of this SFU is more entries of the log behind the leader's than the limit lag of its configuration " +
			"allows, for a while.",
		Done: "It catches up by itself, from the leader's log or with a copy of its state; `rrts status` shows how far it is. " +
			"Until then reads here wait or are older, and it is no good replacement for the leader.",
		Do: "Wait if the number falls. If it does not, look at this machine's disk and processor and at the networks. An SFU " +
			"that never catches up is replaced with `rrts sfu replace NAME`.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "cpu-busy", Severity: Warning, Machine: true, Subject: "The processors of this machine are busy",
		Means: "All processors together did little else than work for a while: more than the limit cpu in machine.toml.",
		Done:  "Nothing. SFUs go on as far as they are given time; those that are given none for too long lose the lead.",
		Do: "Look with `top` for what takes the processors. If it is rrtsd, the cluster has more work than these machines can " +
			"do; if it is something else, move it elsewhere.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "memory-short", Severity: Warning, Machine: true, Subject: "This machine has little memory left",
		Means: "Less memory can be had without swapping than the limit memory in machine.toml.",
		Done:  "Nothing. When memory runs out the kernel ends other programs before an SFU.",
		Do: "Look with `top` (press M) for what takes it. An SFU's own share is set by memory, txn.cache and txn.balances in " +
			"sfu/NAME.toml.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "disk-space-low", Severity: Warning, Machine: true, Subject: "The disk of an SFU is filling",
		Means: "The file system that holds the directory behind the alarm's name has less room left than the limit disk_space in " +
			"machine.toml.",
		Done: "Nothing yet. When it is full new transactions are refused, and the alarm disk-full says so.",
		Do: "Make room, or put in a larger disk. The journal of an SFU keeps its size; its state grows with accounts and " +
			"transfers. Delete nothing below /var/lib/rrts.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "disk-slow", Severity: Warning, Machine: true, Subject: "The disk of an SFU is slow",
		Means: "Writes to the disk that holds the directory behind the alarm's name took longer on the average than the limit " +
			"disk_latency in machine.toml; or several writes of the SFU's journal in a row took more than a quarter of a second.",
		Done: "A commit waits for the disks of a majority, and for the leader's: an SFU with a slow journal passes the lead on to one " +
			"whose disk is good. So one slow disk among three delays nothing.",
		Do: "Look at the disk (`smartctl -a`), and with `iotop` for what else writes there. An SSD without a capacitor, or " +
			"one nearly full, is often the reason.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "temperature-high", Severity: Warning, Machine: true, Subject: "This machine is hot",
		Means: "The sensor behind the alarm's name is hotter than the limit temperature in machine.toml.",
		Done: "Nothing. The processor slows itself down, and the machine switches itself off before it takes damage; the other " +
			"SFUs then go on without it.",
		Do:    "Clean fans and filters, and look whether every fan turns.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "clock-off", Severity: Warning, Machine: true, Subject: "The clock of this machine is off",
		Means: "The clock of this machine differs from the middle of the other machines' clocks by more than the limit clock in " +
			"machine.toml. Of two machines nobody knows which one is right: both raise it.",
		Done: "Nothing is lost and no order changes: time between SFUs is measured without these clocks. Times in records are " +
			"as wrong as the leader's clock.",
		Do: "Look at `timedatectl`: the service systemd-timesyncd or chrony should run and be synchronised. A clock that is " +
			"off after each start needs a new battery.",
		Proof: "comps/monitor/judge.TestTranscripts",
	},
	{
		Name: "backup-missing", Severity: Warning, Machine: true, Subject: "No recent backup",
		Means: "This machine has a target for backups in /etc/rrts/machine.toml, and none was taken to it and read back within " +
			"max_age.",
		Done: "Nothing of the ledger is in danger as long as the cluster runs. What would be lost if all machines were, grows.",
		Do: "See why the last one failed, `journalctl -u rrts-backup`: the target's disk is not mounted or full, or no SFU of " +
			"this machine ran. Mend it and take one at once: `systemctl start rrts-backup`.",
		Proof: "comps/monitor.TestBackupMissing",
	},
	{
		Name: "mail-failing", Severity: Warning, Subject: "Alarms cannot be told by mail",
		Means: "The mail server in the section alarm_mail of machine.toml does not take this SFU's messages about alarms, or not " +
			"for everybody who should get them.",
		Done: "It is tried again, with pauses of ten minutes at most, for a day after an alarm has ended. What the server " +
			"refused for good is not sent again. This alarm itself is not mailed.",
		Do: "The detail says what the server said: a wrong password (keys/NAME/mail.password, then restart the SFU), an address " +
			"that does not exist, a server that is away. `rrts alarms test` sends another one. The alarm ends with the next " +
			"message that is taken.",
		Proof: "comps/monitor.TestMailFails",
	},
	{
		Name: "state-damaged", Severity: Critical, Subject: "The state of this SFU has damage",
		Means: "A file of the ledger's state does not read back as it was written, or is an older one: the disk or the machine's " +
			"memory is failing, or somebody changed the file.",
		Done: "No balance is read from a file that cannot be trusted. What this SFU has promised stands in its journal. It takes " +
			"the state of another SFU, holds it against its sum, applies what the journal holds behind it, and takes part again; " +
			"then the alarm ends, and the damaged files lie in the SFU's store directory under a name that begins with damaged-. " +
			"The other SFUs go on. Where no other SFU has the state, this one does not start; where none gives it, it waits.",
		Do: "Look at the disk (`smartctl -a`) and at the memory. If the alarm stays, the journal of this SFU says which SFU does " +
			"not give its state. If all SFUs say this, put the disks right, or restore the newest backup with `rrts restore`. " +
			"Remove the damaged- directory when nobody wants to look at it any more.",
		Proof: "comps/txn.TestDamagedState",
	},
	{
		Name: "solo", Severity: Warning, Subject: "One SFU alone decides transactions",
		Means: "Only one SFU of the transaction group votes: the cluster has one, the others are stopped, or they have not " +
			"caught up yet.",
		Done: "Everything works, and that SFU decides alone. If it, its machine or its disk fails, no transaction is decided " +
			"until it is back, and what was not backed up may be lost with the disk.",
		Do: "Start the SFUs that are stopped (rrts status). For a cluster that survives the loss of a machine add two more " +
			"with `rrts node add`, and set up backups in any case. The alarm ends by itself when a second SFU votes.",
		Proof: "comps/txn.TestForce",
	},
	{
		Name: "quorum-forced", Severity: Warning, Subject: "An operator has forced the quorum: other SFUs are overruled",
		Means: "Most of the SFUs that vote were lost, and an operator told this one to go on alone (`rrts quorum force`). The " +
			"alarm names the epoch that began, and the CSN from which on this SFU decided without the others.",
		Done: "Messages of the older epoch are refused. The SFUs that are overruled take no part any more when they return. " +
			"What was committed on this SFU is here; what only the others had committed is not, and each of them writes it " +
			"into a file of its own.",
		Do: "Bring each SFU that the alarm names back under a new identity: `rrts sfu replace NAME`. Then look through its " +
			"file, if it had transactions of its own: `rrts tx overruled FILE`. If an SFU never comes back: `rrts sfu remove " +
			"NAME`. The alarm ends when none is left.",
		Proof: "comps/txn.TestForce",
	},
	{
		Name: "overruled", Severity: Critical, Lasting: true, Subject: "This SFU was overruled: the others went on without it",
		Means: "While this SFU was away, or could not be reached, an operator let another one go on alone. Both may have " +
			"decided transactions since; those of the other one count.",
		Done: "This SFU takes no part any more, and stops. It has counted the transactions that only it has, and written " +
			"them into overruled-epoch-N.jsonl in its state directory. Its state stays as it is.",
		Do: "`rrts sfu replace NAME` on the machine with the master keys, and the line that it prints on this one: the SFU " +
			"comes back under a new identity and is sent the state. Then look through the file with `rrts tx overruled " +
			"FILE`: what its clients were told is committed, and the cluster does not know, has to be settled with them.",
		Proof: "comps/txn.TestForce",
	},
	{
		Name: "watchdog-armed", Event: true, Severity: Info, Machine: true, Subject: "The hardware watchdog is armed",
		Means: "From now on the hardware resets this machine when it is not fed for as long as the line says. rrts- " +
			"watchdog.service feeds it as long as the machine is well.",
		Done:  "Nothing else. A clean stop of the service or of the machine stops the hardware first.",
		Do:    "Nothing. `rrts watchdog status` says how it is, `rrts watchdog disarm` ends it.",
		Proof: "watchdog.TestGuardFeeds",
	},
	{
		Name: "watchdog-stopped", Event: true, Severity: Info, Machine: true, Subject: "The hardware watchdog is stopped",
		Means: "rrts-watchdog.service was told to stop, as at every stop of the machine.",
		Done:  "The hardware was stopped first: it resets nothing any more.",
		Do:    "Nothing, if the machine goes down or you disarmed it. Otherwise start it again: `systemctl start rrts-watchdog`.",
		Proof: "watchdog.TestGuardFeeds",
	},
	{
		Name: "watchdog-off", Severity: Warning, Machine: true, Subject: "The hardware watchdog stays off",
		Means: "It has reset this machine three times within an hour, or the machine ended without a word while it was armed, as " +
			"after a power cut. Resets do not cure what is wrong here.",
		Done: "The hardware was not started. The machine and its SFUs run, without this last step of protection.",
		Do: "Find the cause: `rrts watchdog status` lists the resets with their reasons, the journal of the boots before " +
			"(`journalctl --list-boots`, then `journalctl -b -1 -p warning`) what came before them. Look at disk (`smartctl " +
			"-a`), memory, power supply and temperature. Then: `rrts watchdog arm`.",
		Proof: "comps/monitor.TestWatchdog",
	},
	{
		Name: "watchdog-unusable", Severity: Warning, Machine: true, Subject: "The hardware watchdog cannot be used",
		Means: "It was ordered with `rrts watchdog arm`, and now its device is missing, belongs to another program, cannot be " +
			"stopped, has too short a time-out, or does not take what it is fed; or rrts-watchdog.service does not run.",
		Done: "Where it could not be started it is off. The machine and its SFUs run, without this last step of protection.",
		Do: "`journalctl -u rrts-watchdog` says what it is. A missing device: load its driver (`lsmod`, `modprobe`), or order " +
			"another with `rrts watchdog arm --device`. Another program: stop it; where that is systemd, leave the hardware to " +
			"it and order anew. Then: `rrts watchdog arm`; or `rrts watchdog disarm`, if it is not wanted.",
		Proof: "comps/monitor.TestWatchdog",
	},
	{
		Name: "machine-was-reset", Event: true, Severity: Warning, Machine: true, Subject: "The machine was reset by its watchdog",
		Means: "The boot before this one ended while the hardware watchdog was armed, and not by a clean stop. The line says " +
			"why, if there was time to write it down. Without a reason the machine or its disk stood still, or the power " +
			"failed.",
		Done: "The SFUs started with the machine and catch up by themselves. Nothing that was committed is lost.",
		Do: "Read the end of the boot before: journalctl -b -1 -e. An engine that could not be killed hung in the kernel, " +
			"mostly in a disk or its driver: `journalctl -k -b -1` names it, and `smartctl -a` the disk's health. After three " +
			"resets within an hour the watchdog stays off.",
		Proof: "watchdog.TestGuardOff",
	},
	{
		Name: "engine-silent", Event: true, Severity: Warning, Machine: true, Subject: "An engine makes no progress",
		Means: "The engine that the line names has not answered systemd for ten seconds.",
		Done:  "systemd kills it and starts it again. If it cannot, within a minute, the machine is reset.",
		Do:    "Nothing yet. If it comes back, look in the journal of the unit for where it hung.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "engine-unkillable", Event: true, Severity: Critical, Machine: true, Subject: "An engine cannot be killed",
		Means: "SIGKILL was sent to the engine that the line names, and it is still there: it hangs in the kernel, mostly in a " +
			"disk that does not answer or in a frozen file system.",
		Done: "If it is not gone a minute after the signal, the machine is reset: nothing else ends it.",
		Do: "If you have less than a minute: `dmesg` shows what hangs; a file system that somebody froze is thawed with " +
			"`fsfreeze --unfreeze`. To keep the machine as it is for a look: `rrts watchdog disarm`.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "engine-recovered", Event: true, Severity: Info, Machine: true, Subject: "An engine is well again, or gone",
		Means: "What was said of the engine that the line names before is over: it answers, was restarted, or is dead at last.",
		Done:  "It is not held against the machine any more.",
		Do:    "Look in the journal of the unit for where it hung.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "systemd-silent", Event: true, Severity: Warning, Machine: true, Subject: "systemd does not answer",
		Means: "The service manager has not answered for ten seconds: it hangs or has crashed, or the machine is so short of " +
			"memory or processor that it stands nearly still. Without it nobody restarts an engine.",
		Done:  "If it does not answer within a minute, the machine is reset.",
		Do:    "Look for what takes memory and processor (`top`), if you still can.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "systemd-recovered", Event: true, Severity: Info, Machine: true, Subject: "systemd answers again",
		Means: "The service manager was silent for a while, and is not any more.",
		Done:  "It is not held against the machine any more.",
		Do:    "Look in the journal for what took memory and processor.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "machine-let-go", Event: true, Severity: Critical, Machine: true, Subject: "The machine is let go: the hardware will reset it",
		Means: "An engine could be neither killed nor restarted, or systemd did not answer, for a minute. The hardware is not " +
			"fed any more and resets the machine within the time that the line says.",
		Done: "The reason stands here and, where the disk still works, in /var/lib/rrts/watchdog.d. The other machines' SFUs go " +
			"on without this one; its own come back with it.",
		Do:    "Nothing: it comes back by itself. To keep the machine as it is for a look: `rrts watchdog disarm`.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "machine-kept", Event: true, Severity: Info, Machine: true, Subject: "The machine is kept",
		Means: "The reason for which it was let go ended before the hardware fired.",
		Done:  "The hardware is fed again.",
		Do:    "Look for the cause as after a reset: it was a near miss.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "machine-stalled", Event: true, Severity: Warning, Machine: true, Subject: "The machine stood still",
		Means: "The watchdog's own process did not run for as long as the line says: the machine was suspended, its virtual " +
			"machine was paused, or it stood still for less than the hardware's time-out.",
		Done:  "No engine is blamed for that time.",
		Do:    "Look for suspend, a paused virtual machine, and in `dmesg` for what held the kernel.",
		Proof: "watchdog.TestFeeder",
	},
	{
		Name: "alarm-test", Severity: Info, Subject: "An operator tries the alarms",
		Means: "Somebody ran `rrts alarms test`. Nothing is wrong. The same is so of every alarm whose name ends in @test.",
		Done:  "The alarm ends by itself after a minute, or when whoever tries it said.",
		Do:    "Nothing, if you know who it was.",
		Proof: "comps/monitor.TestAlarmTest",
	},
	{
		Name: "datasource-unavailable", Severity: Warning, Subject: "A data source is not as it should be",
		Means: "A database of this SFU does not answer, refuses, or lacks what writes need: the table rrts_effect, or tables " +
			"that can be rolled back. Its name stands behind the alarm's, the reason in its text.",
		Done: "Effects for it are kept and tried again, or wait in quarantine where its tables are at fault; reads are answered " +
			"with the error. It is asked every five seconds, and the alarm ends when it is well.",
		Do: "`rrts datasource test` asks all of them at once. See that the database runs and can be reached from this machine " +
			"with the user and password of /etc/rrts; `rrts datasource init` makes the table.",
		Proof: "comps/datasource.TestHealth",
	},
	{
		Name: "payment-unavailable", Severity: Warning, Subject: "A payment provider does not answer",
		Means: "The provider whose name stands behind the alarm's did not answer three questions in a row, or refuses them: the " +
			"reason is in its text.",
		Done: "Payments go on in the ledger: what is held stays held, and the calls that are owed are tried again, later and " +
			"later. No call is taken for done or for failed. The alarm ends with the first answer.",
		Do: "See that the provider can be reached from this machine, and that the key in /etc/rrts/keys is the one that it has " +
			"given out. `rrts payment providers` asks all of them; providers tell of their own failures on pages of theirs.",
		Proof: "comps/payment.TestAlarms",
	},
	{
		Name: "payment-differences", Severity: Warning, Subject: "Ledger and payment provider differ",
		Means: "A payment stands otherwise in the ledger than at its provider, and no call is under way that would explain it: " +
			"somebody has captured or refunded at the provider's own desk, or in the ledger without it.",
		Done: "Nothing is changed on either side. Both are compared again as often as the provider's file says, and the alarm " +
			"ends when they agree.",
		Do: "`rrts payment reconcile` tells what differs, `rrts payment show` all of one payment. Put right the side that is " +
			"wrong: a refund by `rrts payment refund`, a charge at the provider's desk.",
		Proof: "comps/payment.TestAlarms",
	},
	{
		Name: "effects-quarantined", Severity: Warning, Subject: "Effects wait for an operator",
		Means: "A committed transaction owes something outside the ledger (a statement in a data source, a mail, a payment) " +
			"that cannot be done, or was not done in as many attempts as there may be. The queue stands behind the alarm's name.",
		Done: "The effect is kept, with the reason; the transaction stays committed and is not completed. Effects of the " +
			"same queue go on, except those with the same key, which wait behind it.",
		Do: "`rrts effects list --quarantined` shows them and why. Mend the cause, then `rrts effects retry`; or " +
			"`rrts effects discard`: then what the transaction said should follow a failure happens.",
		Proof: "comps/effects.TestAlarms",
	},
	{
		Name: "effects-failing", Severity: Warning, Subject: "Effects are not done",
		Means: "The newest attempts of a queue have all failed: its data source, mail relay or provider does not answer, or " +
			"refuses. The queue stands behind the alarm's name, the newest reason in its text.",
		Done: "The effects are tried again, later and later; none is lost, and their order is kept. Transactions are committed " +
			"as before. The alarm ends with the first attempt that succeeds.",
		Do: "Look at the data source, relay or provider, and at the network to it. `rrts effects list` shows what waits and " +
			"since when.",
		Proof: "comps/effects.TestAlarms",
	},
	{
		Name: "effects-unserved", Severity: Warning, Subject: "Nobody does the effects of a queue",
		Means: "Committed transactions owe effects that could be done, and for a minute and a half no SFU has worked on their " +
			"queue. The queue stands behind the alarm's name: a service and, behind the stroke, a target.",
		Done: "The effects are kept, in their order; the transactions stay committed and are not completed. Transactions are " +
			"committed as before, until the queue is full.",
		Do: "See that an SFU of type `all` or `data` runs that has the data source, mail relay or provider in its " +
			"configuration: `rrts effects queues`, `rrts status`. A target that was mistyped has a queue of its own: " +
			"`rrts effects discard` what waits there.",
		Proof: "comps/txn.TestUnserved",
	},
	{
		Name: "effects-held", Severity: Warning, Subject: "Effects of a restored cluster are held back",
		Means: "The cluster was restored from a backup, and transactions in it owe effects. The cluster before may have done " +
			"them after the backup was made.",
		Done: "None of them is done, nor any that was owed since, until an operator says so. Transactions are committed as " +
			"before.",
		Do: "`rrts effects list` shows them. Discard those that must not be done (again) with `rrts effects discard`, then " +
			"let the others go on: `rrts effects release`.",
		Proof: "comps/effects.TestAlarms",
	},
}
