# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_postern_global_optspecs
    string join \n config= h/help V/version
end

function __fish_postern_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_postern_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_postern_using_subcommand
    set -l cmd (__fish_postern_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c postern -n "__fish_postern_needs_command" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c postern -n "__fish_postern_needs_command" -s V -l version -d 'Print version'
complete -c postern -n "__fish_postern_needs_command" -f -a "serve" -d 'Run the relay in the foreground, logging to stderr'
complete -c postern -n "__fish_postern_needs_command" -f -a "check" -d 'Check the configuration and what it names; tell every fault'
complete -c postern -n "__fish_postern_needs_command" -f -a "account" -d 'Add, list or remove the accounts that may submit mail'
complete -c postern -n "__fish_postern_needs_command" -f -a "queue" -d 'Look at messages that wait for delivery, and take them in hand'
complete -c postern -n "__fish_postern_needs_command" -f -a "audit" -d 'Look up how messages were protected and what became of them'
complete -c postern -n "__fish_postern_needs_command" -f -a "spool" -d 'Check, export, import the stored mail, and change its master key'
complete -c postern -n "__fish_postern_needs_command" -f -a "key" -d 'Add, list, remove, look up and approve recipients\' certificates'
complete -c postern -n "__fish_postern_needs_command" -f -a "domain" -d 'Look at what is remembered of recipients\' domains, and make exceptions'
complete -c postern -n "__fish_postern_needs_command" -f -a "log" -d 'Change how much the running daemon logs'
complete -c postern -n "__fish_postern_needs_command" -f -a "policy" -d 'Try changes of the rules before they are in force'
complete -c postern -n "__fish_postern_needs_command" -f -a "explain" -d 'Tell what would happen to a message for a recipient, and why'
complete -c postern -n "__fish_postern_needs_command" -f -a "test" -d 'Send one harmless message, and tell what becomes of it'
complete -c postern -n "__fish_postern_using_subcommand serve" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand serve" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand check" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand account; and not __fish_seen_subcommand_from add list remove" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand account; and not __fish_seen_subcommand_from add list remove" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand account; and not __fish_seen_subcommand_from add list remove" -f -a "add" -d 'Add an account'
complete -c postern -n "__fish_postern_using_subcommand account; and not __fish_seen_subcommand_from add list remove" -f -a "list" -d 'List the accounts'
complete -c postern -n "__fish_postern_using_subcommand account; and not __fish_seen_subcommand_from add list remove" -f -a "remove" -d 'Remove an account'
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from add" -l sender -d 'What it may send as: an address or @domain (repeatable)' -r
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from add" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from add" -l password-stdin -d 'Read the password from standard input; otherwise one is made up and printed once'
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand account; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "list" -d 'List messages with an open recipient'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "show" -d 'Show one message'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "hold" -d 'Keep messages back: they are not tried and never expire'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "release" -d 'Let what is held go at once'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "retry" -d 'Try again at once what waits'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "remove" -d 'Take messages out; nobody is told'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "bounce" -d 'Give messages up; their senders are told'
complete -c postern -n "__fish_postern_using_subcommand queue; and not __fish_seen_subcommand_from list show hold release retry remove bounce stats" -f -a "stats" -d 'Count by state, age, site and domain'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -l domain -d 'Recipients at this domain' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -l sender -d 'This sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -l state -d 'Recipients in this state' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l until -d 'Release them then: a time (RFC 3339) or how long from now, such as 4h' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l domain -d 'Recipients at this domain, of whatever message; its other recipients are left as they are' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l sender -d 'Messages of this sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l reason -d 'Why, for the audit' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l all -d 'All messages'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l dry-run -d 'Tell what would be touched, and touch nothing'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from hold" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l domain -d 'Recipients at this domain, of whatever message; its other recipients are left as they are' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l sender -d 'Messages of this sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l reason -d 'Why, for the audit' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l all -d 'All messages'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l dry-run -d 'Tell what would be touched, and touch nothing'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from release" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l domain -d 'Recipients at this domain, of whatever message; its other recipients are left as they are' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l sender -d 'Messages of this sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l reason -d 'Why, for the audit' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l all -d 'All messages'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l dry-run -d 'Tell what would be touched, and touch nothing'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l domain -d 'Recipients at this domain, of whatever message; its other recipients are left as they are' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l sender -d 'Messages of this sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l reason -d 'Why, for the audit' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l all -d 'All messages'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l dry-run -d 'Tell what would be touched, and touch nothing'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l domain -d 'Recipients at this domain, of whatever message; its other recipients are left as they are' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l sender -d 'Messages of this sender ("" for <>)' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l reason -d 'Why, for the audit' -r
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l all -d 'All messages'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l dry-run -d 'Tell what would be touched, and touch nothing'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from bounce" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from stats" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from stats" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand queue; and __fish_seen_subcommand_from stats" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -f -a "list" -d 'List changes of state and what happened to domains, in the order they were written'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -f -a "would" -d 'Sum up, by domain, what was delivered while `[security] observe` was on and would not be if the configuration were enforced'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -f -a "show" -d 'Show everything about one message'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -f -a "verify" -d 'Check that nothing in the audit was changed, removed or added'
complete -c postern -n "__fish_postern_using_subcommand audit; and not __fish_seen_subcommand_from list would show verify export" -f -a "export" -d 'Print all of it for other programs'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l since -d 'From this time on (RFC 3339), or from so long ago (7d)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l recipient -d 'For this recipient' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l domain -d 'For recipients in this domain, and what happened to the domain itself' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l kind -d 'Only what became of recipients (recipient), or only what happened to domains (domain)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l state -d 'Into this state' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l would -d 'That would have come to this, while `[security] observe` was on: tls, cleartext, pgp, smime, wait, bounce, drop or hold' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from would" -l since -d 'From this time on (RFC 3339), or from so long ago (7d)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from would" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from would" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from would" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from verify" -l key -d 'A copy of the public key, kept elsewhere [default: keys/audit.pub.pem in data_dir]' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from verify" -l head -d 'A head that was noted earlier and must be found (repeatable)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from export" -l since -d 'From this time on (RFC 3339), or from so long ago (7d)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from export" -l until -d 'Before this time (RFC 3339)' -r
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from export" -l format -d 'One JSON object a line, or CSV with a line of names' -r -f -a "jsonl\t''
csv\t''"
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from export" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand audit; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -f -a "check" -d 'Read all of the spool and tell what is damaged; the daemon must be stopped'
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -f -a "export" -d 'Write everything that is open into one sealed file; with a running daemon or without'
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -f -a "import" -d 'Take in what an export holds; the daemon must be stopped'
complete -c postern -n "__fish_postern_using_subcommand spool; and not __fish_seen_subcommand_from check export import rotate-key" -f -a "rotate-key" -d 'Make a new master key; the daemon must be stopped'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from check" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from check" -l repair -d 'Make the index anew from the journal and set aside what is damaged'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from export" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from export" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from import" -l key -d 'The master key of the host that wrote it, if it is not this one\'s' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from import" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from import" -l dry-run -d 'List what would be taken in, and take nothing'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from import" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from rotate-key" -l new-key -d 'Take the new key from this file, or write it there if there is none; needed where the master key is a credential of systemd\'s' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from rotate-key" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand spool; and __fish_seen_subcommand_from rotate-key" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -f -a "add" -d 'Add a recipient\'s certificate, or what is new in one'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -f -a "list" -d 'List all certificates, and what keeps each from being used'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -f -a "remove" -d 'Forget a certificate'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -f -a "find" -d 'Tell which certificate would be used for an address, and why not others'
complete -c postern -n "__fish_postern_using_subcommand key; and not __fish_seen_subcommand_from add list remove find approve" -f -a "approve" -d 'Approve a certificate that was found: one that changed comes into use'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from add" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from find" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from find" -l lookup -d 'Look it up first where its domain publishes keys (WKD), now'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from find" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from find" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from approve" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand key; and __fish_seen_subcommand_from approve" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -f -a "list" -d 'Every domain that is remembered, or has an exception'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -f -a "show" -d 'What is remembered of one domain'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -f -a "probe" -d 'Have the daemon look at a domain\'s hosts now, without sending; exit 0 if mail would be delivered, 1 if not'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -f -a "allow" -d 'Let a domain that did TLS before have cleartext for a while, where a rule allows cleartext at all'
complete -c postern -n "__fish_postern_using_subcommand domain; and not __fish_seen_subcommand_from list show probe allow forget" -f -a "forget" -d 'Forget what is remembered of a domain, and take its exception back'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from probe" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from probe" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from probe" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from allow" -l until -d 'Until when: a time, or how long from now (14d); a year at most' -r
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from allow" -l reason -d 'Why; it is shown wherever the exception is' -r
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from allow" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from allow" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from allow" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from forget" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand domain; and __fish_seen_subcommand_from forget" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand log; and not __fish_seen_subcommand_from level" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand log; and not __fish_seen_subcommand_from level" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand log; and not __fish_seen_subcommand_from level" -f -a "level" -d 'Change the level of the running daemon'
complete -c postern -n "__fish_postern_using_subcommand log; and __fish_seen_subcommand_from level" -l for -d 'Go back to the configured level after this long (15m, 2h)' -r
complete -c postern -n "__fish_postern_using_subcommand log; and __fish_seen_subcommand_from level" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand log; and __fish_seen_subcommand_from level" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand policy; and not __fish_seen_subcommand_from replay" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand policy; and not __fish_seen_subcommand_from replay" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand policy; and not __fish_seen_subcommand_from replay" -f -a "replay" -d 'Run a changed configuration over the recipients of the past, as the audit holds them, and tell by domain for whom something would change'
complete -c postern -n "__fish_postern_using_subcommand policy; and __fish_seen_subcommand_from replay" -l since -d 'From this time on (RFC 3339), or from so long ago (30d) [default: all that the audit holds]' -r
complete -c postern -n "__fish_postern_using_subcommand policy; and __fish_seen_subcommand_from replay" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand policy; and __fish_seen_subcommand_from replay" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand policy; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand explain" -l from -d 'The sender\'s address; without it, no sender (<>) is assumed' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l account -d 'The account that would submit' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l listener -d 'The listener\'s `bind` it would come through' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l subject -d 'The message\'s Subject, for rules that ask it' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l header -d 'A header field, "Name: value", for rules that ask it; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l text -d 'The message\'s text, for rules that count in it' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l size -d 'The message\'s size, for rules that ask it' -r
complete -c postern -n "__fish_postern_using_subcommand explain" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand explain" -l probe -d 'Connect to the hosts and shake hands, without a word about sender or recipient; exit 0 if a message would be delivered now, 1 if not'
complete -c postern -n "__fish_postern_using_subcommand explain" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand explain" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand test" -l from -d 'The sender\'s address [default: the postmaster]' -r
complete -c postern -n "__fish_postern_using_subcommand test" -l wait -d 'How long to follow it' -r
complete -c postern -n "__fish_postern_using_subcommand test" -l config -d 'The configuration file' -r -F
complete -c postern -n "__fish_postern_using_subcommand test" -l json -d 'Print JSON'
complete -c postern -n "__fish_postern_using_subcommand test" -s h -l help -d 'Print help'
