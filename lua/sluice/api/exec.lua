--- Other programs.

return {
  { name = "sluice.exec", args = { { "argv", "string[]", "the program and its arguments" },
    { "options?", "{stdin?: string, timeout?: number, max_output?: integer, cwd?: string, "
      .. "env?: table<string, string>}" } },
    waits = true,
    returns = { { "{status: integer?, signal: integer?, stdout: string, stderr: string}|nil" },
      { "string|nil", '"not found", "timed out", "too much output", …' } },
    doc = "Runs a program to its end, without a shell. status: its exit status, or signal: what "
      .. "ended it. A name without a slash is looked for in PATH. timeout: 30 s; max_output: 1 MiB "
      .. "of both outputs together; env: set beside our own variables. A program that takes too "
      .. "long or says too much is killed, as is one whose task is cancelled, with all that it has "
      .. "started in its process group; what is left of the group when it ends is killed, too. At "
      .. "most 256 run at a time." },
}
