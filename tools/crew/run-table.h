/* SPDX-License-Identifier: MIT */

/*
 * The options of `crew run`: rows of struct cli_option, for one array in which `o` is what they
 * set. Parsing, --help, completion and the check of the manual page go by this table.
 */

/* clang-format off */
{ 'a', "arg-file", "FILE", "take values from a file; - is stdin", CLI_CALL, o, take_file, .section = "Values" },
{ '0', "null", NULL, "values end with a zero byte, as find -print0 does it", CLI_CALL, o, take_null },
{ 'd', "delimiter", "C", "values end with this byte; \\0 \\n \\t \\x1f", CLI_CALL, o, take_delimiter },
{ 'C', "colsep", "REGEX", "split values into {1} {2} ... here", CLI_CALL, o, take_columns },
{ 'n', "max-args", "N", "give each job up to N values; 0: none", CLI_CALL, o, take_batch },
{ 'N', "max-replace-args", "N", NULL, CLI_CALL, o, take_batch },
{ 'L', "max-lines", "N", "the same, leaving out empty ones", CLI_CALL, o, take_lines },
{ 'r', "no-run-if-empty", NULL, "leave out empty and blank values", CLI_FLAG, &o->input.skip_empty },
{ 'E', "eof", "WORD", "this value ends its source", CLI_TEXT, &o->input.end },
{ 0, "link", NULL, "one value of each source, not every combination", CLI_FLAG, &o->input.link_all },

{ 'I', "replace", "TEXT", "what stands for the value, instead of {}", CLI_CALL, o, take_replace, .section = "Command" },
{ 0, "shell", NULL, "the command is a script for sh; values are quoted", CLI_FLAG, &o->shell },
{ 0, "wd", "DIR", "run jobs in this directory", CLI_TEXT, &o->directory },
{ 0, "workdir", "DIR", NULL, CLI_TEXT, &o->directory },
{ 0, "env", "NAME[=VALUE]", "set a variable, or keep it with --clean-env", CLI_CALL, o, take_env },
{ 0, "clean-env", NULL, "give jobs only the usual variables and --env", CLI_FLAG, &o->clean_env },
{ 0, "tty", NULL, "give the job the terminal, one at a time", CLI_FLAG, &o->tty },
{ 0, "dry-run", NULL, "print the commands and run nothing", CLI_FLAG, &o->dry_run },
{ 0, "dryrun", NULL, NULL, CLI_FLAG, &o->dry_run },
{ 't', "verbose", NULL, "print each command on stderr as it starts", CLI_FLAG, &o->verbose },

{ 'j', "jobs", "N", "run N at a time: N, N%, +N, 0 = all [processors]", CLI_CALL, o, take_slots, .section = "Running" },
{ 'P', "max-procs", "N", NULL, CLI_CALL, o, take_slots },
{ 0, "delay", "TIME", "wait this long between two starts", CLI_CALL, o, take_delay },
{ 0, "load", "N", "start none while N processes run; N or N%", CLI_CALL, o, take_load },
{ 0, "memfree", "SIZE", "start none while less memory is free", CLI_CALL, o, take_memory_free },
{ 0, "nice", "N", "run jobs N steps nicer", CLI_INTEGER, &o->nice, NULL, -40, 39 },
{ 0, "timeout", "TIME", "end a job that takes longer: 10, 2m, 1.5h", CLI_CALL, o, take_timeout },
{ 0, "kill-after", "TIME", "after SIGTERM wait this long for SIGKILL [1s]", CLI_CALL, o, take_kill_after },
{ 0, "retries", "N", "try a job that fails N times in all", CLI_INTEGER, &o->retries, NULL, 0, 1000000 },
{ 0, "retry-delay", "TIME", "before trying again; twice as long each time [0.1]", CLI_CALL, o, take_retry_delay },
{ 0, "halt", "WHEN,WHY=N", "stop early: now|soon,fail|success|done=N or N%", CLI_CALL, o, take_halt },

{ 'k', "keep-order", NULL, "print in the order of the values", CLI_FLAG, &o->keep_order, .section = "Output" },
{ 0, "group", NULL, "print what a job printed when it has ended [default]", CLI_CALL, o, take_grouped },
{ 0, "line-buffer", NULL, "print it line by line", CLI_CALL, o, take_line_buffer },
{ 0, "linebuffer", NULL, NULL, CLI_CALL, o, take_line_buffer },
{ 0, "lb", NULL, NULL, CLI_CALL, o, take_line_buffer },
{ 'u', "ungroup", NULL, "let jobs print as they like", CLI_CALL, o, take_ungroup },
{ 0, "tag", NULL, "begin each line with the job's values", CLI_FLAG, &o->tag },
{ 0, "tagstring", "TEXT", "or with this; it may have placeholders", CLI_TEXT, &o->tag_text },
{ 0, "bar", NULL, "show a progress bar, if stderr is a terminal", CLI_FLAG, &o->bar },
{ 0, "eta", NULL, "show when it will be done, if stderr is a terminal", CLI_FLAG, &o->eta },
{ 0, "joblog", "FILE", "write a line about each job; +FILE appends", CLI_TEXT, &o->log },
{ 0, "joblog-format", "gnu|json", "how [gnu]", CLI_CALL, o, take_log_format },
{ 0, "results", "DIR", "keep what jobs print in files below DIR", CLI_TEXT, &o->results },
{ 0, "resume", NULL, "leave out the jobs that are in the log", CLI_FLAG, &o->resume },
{ 0, "resume-failed", NULL, "the same, but run those again that failed", CLI_FLAG, &o->resume_failed },
{ 0, "trace", "FILE", "write a timeline for Perfetto or chrome://tracing", CLI_TEXT, &o->trace },
        
{ 0, "sandbox", "standard|strict|none", "what jobs may do [standard]", CLI_CALL, &o->sandbox, run_sandbox_take_name, .section = "Sandbox" },
{ 0, "net", NULL, "let them use the network", CLI_FLAG, &o->sandbox.profile.net },
{ 0, "rw", "PATH", "let them write here, too, and below", CLI_CALL, &o->sandbox, run_sandbox_take_rw },
{ 0, "ro", "PATH", "strict: let them read here, too, and below", CLI_CALL, &o->sandbox, run_sandbox_take_ro },
{ 0, "allow", "WORDS", "let them do more, as unix; see crew-run(1)", CLI_CALL, &o->sandbox, run_sandbox_take_allow },
{ 0, "limit", "WHAT=N,...", "mem=1G, cpu=60s, files=256, fsize=1G, procs=100", CLI_CALL, &o->sandbox, run_sandbox_take_limit },
{ 0, "on-violation", "report|kill", "what a refused call does [report]", CLI_CALL, &o->sandbox, run_sandbox_take_violation },
{ 0, "explain", NULL, "run the first job only, and show what it needs", CLI_FLAG, &o->sandbox.explain },
{ 0, "sandbox-required", NULL, "run nothing where the kernel cannot do all of it", CLI_FLAG, &o->sandbox.profile.required },

{ 0, "completion", "bash", "print what makes bash complete crew's options", CLI_CALL, &self, take_completion, .section = "Other" },
/* clang-format on */
