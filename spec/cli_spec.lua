-- The executable's command line: lua's flags with lua's meaning, the script as a task, the end of
-- the process and its exit codes, the prompt, and the subcommands.
local program = require "spec.support.program"

local run, script, file = program.run, program.script, program.file
local LOOP <const> = 'local loop = require("lethe.loop").default()\n'

-- A shell command's standard output and exit code as one value.
local function result(out, _, code)
  return { out, code }
end

describe("lethe options", function()
  after_each(program.clean)

  it("run code and libraries in their order", function()
    local out = run("lethe -e 'a = 1' -l string -ea=a+1 -lm=math -l 's=string' "
      .. "-e 'print(a, m.pi // 1, s.len)'")
    assert.matches("^2\t3.0\tfunction", out)
  end)

  it("-l sets the global of a module by its name", function()
    local dir = program.directory()
    assert(os.execute("echo 'return 17' > " .. dir .. "/seventeen.lua"))
    local out = run(("LUA_PATH='%s/?.lua;;' lethe -l seventeen -e 'print(seventeen)'"):format(dir))
    assert.are.equal("17\n", out)
  end)

  it("-l reports a module that is not there", function()
    local out, err, code = run("lethe -l no.such.module -e 'print(1)'")
    assert.are.same({ "", 1 }, { out, code })
    assert.matches("module 'no.such.module' not found", err, 1, true)
    assert.matches("no embedded module 'no.such.module'", err, 1, true)
  end)

  it("-e ends the program when it fails, before the script", function()
    local out, err, code = script("print(1)", "-e 'error(\"early\", 0)'")
    assert.are.same({ "", 1 }, { out, code })
    assert.matches("lethe: early\n", err, 1, true)
  end)

  it("-v prints the version and goes on", function()
    local out = run("lethe -v -e 'print(1)'")
    assert.matches("^lethe 0%.1%.0 %(Lua 5%.4%.%d%)\nLua 5%.4%.%d .*PUC%-Rio\n1\n$", out)
  end)

  it("-W turns warnings on", function()
    local _, err = run([[lethe -e 'warn("silent")' -W -e 'warn("he", "ard")']])
    assert.are.equal("Lua warning: heard\n", err)
  end)

  it("-E ignores the environment", function()
    local out = run("LUA_INIT='print(1)' LUA_PATH=x lethe -E -e 'print(package.path)'")
    assert.are_not.equal("x\n", out)
    assert.not_matches("^1\n", out)
  end)

  it("LUA_INIT runs first, as code or as a file", function()
    assert.are.equal("hi\n1\n", (run([[LUA_INIT='print"hi"' lethe -e 'print(1)']])))
    local init = file("x = arg[0]")
    local path = file("print(x)")
    assert.are.equal(path .. "\n", (run(("LUA_INIT=@%s lethe %s"):format(init, path))))
    local out = run([[LUA_INIT_5_4='print"5.4"' LUA_INIT='print"any"' lethe -e '']])
    assert.are.equal("5.4\n", out)
  end)

  it("an error in LUA_INIT is the end", function()
    local out, err, code = run([[LUA_INIT='error"no"' lethe -e 'print(1)']])
    assert.are.same({ "", 1 }, { out, code })
    assert.matches("LUA_INIT:1: no", err, 1, true)
  end)

  it("- and no script at all read standard input", function()
    assert.are.same({ "a\tb\n", 0 }, result(run("lethe - a b", "print(...)")))
    assert.are.same({ "nil\n", 0 }, result(run("lethe", "print((...))")))
    assert.are.same({ "", 1 }, result(run("lethe", "error('x')")))
  end)

  it("-- ends the options", function()
    local path = file("print(arg[-1], arg[1])")
    assert.are.equal("--\t-e\n", (run("lethe -- " .. path .. " -e")))
  end)

  it("--help and --version go to standard output", function()
    local out, err, code = run("lethe --help")
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("usage: lethe", out, 1, true)
    assert.matches("^lethe 0%.1%.0 %(Lua 5%.4%.%d+%)\n$", (run("lethe --version")))
  end)

  it("wrong ones are named, with exit code 2", function()
    for bad, message in pairs{
      ["-h"] = "unrecognized option '-h'", ["-vv"] = "unrecognized option '-vv'",
      ["-Ex"] = "unrecognized option '-Ex'", ["---"] = "unrecognized option '---'",
      ["-e"] = "'-e' needs argument", ["-l"] = "'-l' needs argument",
      ["-e -v"] = "'-e' needs argument",
      ["--hepl"] = "unrecognized option '--hepl' (did you mean '--help'?)",
    } do
      local out, err, code = run("lethe " .. bad)
      assert.are.same({ "", 2 }, { out, code })
      assert.matches(message, err, 1, true)
      assert.matches("usage:", err, 1, true)
    end
  end)
end)

describe("a lethe script", function()
  after_each(program.clean)

  it("gets its arguments in ... and arg", function()
    local path = file("print(#arg, arg[0] == ..., arg[1], select('#', ...), (select(2, ...)), "
      .. "arg[-1])")
    local out = run(("lethe -v %s %s 'b c'"):format(path, path))
    assert.matches("\n2\ttrue\t" .. path .. "\t2\tb c\t-v\n", out, 1, true)
  end)

  it("sees arg as code before it left it", function()
    assert.are.equal("100\n", (run("lethe -e 'arg[1] = 100' -", "print(...)")))
    local _, err, code = run("lethe -e 'arg = 1' -")
    assert.are.equal(1, code)
    assert.matches("'arg' is not a table", err, 1, true)
  end)

  it("may begin with a # line, and may be binary", function()
    assert.are.equal("3\n", (script("#!/usr/bin/env lethe\nprint(3)")))
    assert.are.equal("3\n", (script("#c\n" .. string.dump(load("print(3)")))))
  end)

  it("that does not exist is named", function()
    local out, err, code = run("lethe no/such/script.lua")
    assert.are.same({ "", 1 }, { out, code })
    assert.matches("lethe: cannot open no/such/script.lua", err, 1, true)
  end)

  it("with a syntax error does not run", function()
    local out, err, code = script("print(1) print(")
    assert.are.same({ "", 1 }, { out, code })
    assert.matches(":1: unexpected symbol near <eof>", err, 1, true)
  end)

  it("that fails leaves a message with a traceback", function()
    local out, err, code = script("local function f() error('boom') end\nprint(1)\nf()")
    assert.are.same({ "1\n", 1 }, { out, code })
    assert.matches("lethe: [^\n]*:1: boom\nstack traceback:\n", err)
    assert.matches("in main chunk\n\t%[C%]: in %?\n$", err)
  end)

  it("may fail with any value", function()
    local speaking = "error(setmetatable({}, {__tostring = function() return 'spoken' end}))"
    assert.matches("lethe: spoken\n$", (select(2, script(speaking))))
    assert.matches("(error object is a table value)", select(2, script("error{}")), 1, true)
    assert.matches("(error object is a nil value)", select(2, script("error()")), 1, true)
    assert.are.equal(1, (select(3, script("error()"))))
  end)

  it("is a task, and so is code of -e and standard input", function()
    local line = "print(coroutine.isyieldable())"
    assert.are.equal("true\n", (script(line)))
    assert.are.equal("true\n", (run("lethe -e '" .. line .. "'")))
    assert.are.equal("true\n", (run("lethe", line)))
  end)

  it("waits without stopping others", function()
    local out = script(LOOP .. [[
      loop:spawn(function() print("other") end)
      loop:sleep(0.01)
      print("script")]])
    assert.are.equal("other\nscript\n", out)
  end)

  it("leaves no globals but lua's own", function()
    local line = "local t = {} for k in pairs(_G) do t[#t + 1] = k end table.sort(t) "
      .. "print(table.concat(t, ' '))"
    local path = file(line)
    assert.are.equal((run("lua5.4 " .. path)), (run("lethe " .. path)))
  end)
end)

describe("the end of lethe", function()
  after_each(program.clean)

  it("comes when the loop has nothing left", function()
    local out, _, code = script(LOOP .. [[
      loop:spawn(function() loop:sleep(0.02) print("task") end)
      loop:timer(0.01, function() print("timer") end)
      print("script")]])
    assert.are.same({ "script\ntimer\ntask\n", 0 }, { out, code })
  end)

  it("comes at once with os.exit", function()
    local forever = LOOP .. "loop:timer(60, print, { every = true })\n"
    assert.are.equal(7, (select(3, script(forever .. "os.exit(7)"))))
    assert.are.equal(0, (select(3, script(forever .. "os.exit(true, true)"))))
    assert.are.equal(1, (select(3, script(forever .. "os.exit(false, true)"))))
    local inside = forever .. "loop:spawn(function() os.exit(4, true) end)"
    assert.are.equal(4, (select(3, script(inside))))
  end)

  it("closes the script's variables when os.exit closes the state", function()
    local out, _, code = script([[
      local a <close> = setmetatable({}, { __close = function(_, e) print("a", e) end })
      local b <close> = setmetatable({}, { __close = function() print("b") end })
      setmetatable({}, { __gc = function() print("collected") end })
      os.exit(3, true)]])
    assert.are.same({ "b\na\tnil\ncollected\n", 3 }, { out, code })
  end)

  it("has code 1 when a task failed that nobody joined", function()
    local out, err, code = script(LOOP .. [[
      loop:spawn(function() error("lost") end)
      loop:sleep(0.01) print("on")]])
    assert.are.same({ "on\n", 1 }, { out, code })
    assert.matches("lost", err, 1, true)
  end)

  it("has code 1 also when on_error heard of it", function()
    local out, err, code = script(LOOP .. [[
      require("lethe").on_error(function(m) print("heard", (m:match("lost"))) end)
      loop:spawn(function() error("lost") end)]])
    assert.are.same({ "heard\tlost\n", "", 1 }, { out, err, code })
  end)

  it("has code 0 when the failed task was joined", function()
    local out, err, code = script(LOOP .. [[
      local _, m, code = loop:spawn(function() error("found", 0) end):join()
      print((m:match("^%w+")), code)]])
    assert.are.same({ "found\tfailed\n", "", 0 }, { out, err, code })
  end)

  it("is an error when the script waits for what cannot come", function()
    local out, err, code = script(LOOP .. [[
      local a <close> = setmetatable({}, { __close = function() print("closed") end })
      local one, two
      one = loop:spawn(function() two:join() end)
      two = loop:spawn(function() one:join() end)
      one:join()]])
    assert.are.same({ "closed\n", 1 }, { out, code })
    assert.matches("nothing is left to run that could end this wait\nstack", err, 1, true)
    assert.matches("\n\t[^\n]*:6: in main chunk\n", err)
  end)
end)

describe("SIGINT", function()
  after_each(program.clean)
  local KILL <const> = [[io.popen("kill -INT $PPID")]]

  it("stops a busy script, with exit code 130", function()
    local out, err, code = script("local function busy() K = " .. KILL
      .. " while true do os.time() end end\nbusy() print('no')")
    assert.are.same({ "", 130 }, { out, code })
    assert.matches("interrupted!\nstack traceback:", err, 1, true)
    assert.matches("in local 'busy'", err, 1, true)
  end)

  it("stops a script that waits, and closes its variables", function()
    local out, err, code = script(LOOP .. [[
      local a <close> = setmetatable({}, { __close = function() print("closed") end })
      local k = ]] .. KILL .. " loop:sleep(60) k:close()")
    assert.are.same({ "closed\n", 130 }, { out, code })
    assert.matches("interrupted!", err, 1, true)
  end)

  it("is an error that a script may catch", function()
    local out, _, code = script(LOOP .. "loop:timer(0.001, function() K = " .. KILL .. [[ end)
      print(select(2, pcall(loop.sleep, loop, 60)):match("interrupted!$"))
      print(loop:sleep(0.001))]])
    assert.are.same({ "interrupted!\ntrue\n", 0 }, { out, code })
  end)

  it("stops a loop that goes on after its script", function()
    local _, err, code = script(LOOP .. "K = " .. KILL
      .. "\nloop:timer(60, print, { every = true })")
    assert.are.equal(130, code)
    assert.matches("interrupted!", err, 1, true)
  end)

  it("ends the process the second time, where the first cannot reach", function()
    local out, _, code = script([=[
      K = io.popen("kill -INT $PPID; sleep 0.03; kill -INT $PPID")
      coroutine.wrap(function() while true do os.time() end end)()
      print("no")]=])
    assert.are.same({ "", 130 }, { out, code })
  end)

  it("goes to a watch that the script put up", function()
    local out, _, code = script(LOOP .. [[
      local watch
      watch = loop:signal("INT", function() print("told") watch:close() end)
      K = ]] .. KILL)
    assert.are.same({ "told\n", 0 }, { out, code })
  end)
end)

describe("the modules in lethe", function()
  after_each(program.clean)

  it("are there without any file", function()
    local path = program.quote(program.path)
    local out = run(("p=$(readlink -f %s) && cd / && env -i $p -E -e '%s'"):format(path,
      'print(require("lethe")._VERSION, require("lethe.core.base").version)'))
    assert.are.equal("lethe 0.1.0\tlethe 0.1.0\n", out)
  end)

  it("give way to files on LUA_PATH", function()
    local dir = program.directory()
    assert(os.execute("mkdir " .. dir .. "/lethe"))
    assert(os.execute("echo 'return 1' > " .. dir .. "/lethe/registry.lua"))
    local code = "print(require('lethe.registry'))"
    local out = run(('LUA_PATH="%s/?.lua;;" lethe -e "%s"'):format(dir, code))
    assert.matches("^1\t", out)
    assert(os.execute("echo 'return { name = ... }' > " .. dir .. "/lethe.lua"))
    out = run(('LUA_PATH="%s/?.lua;;" lethe -e "%s"'):format(dir, "print(require('lethe').name)"))
    assert.are.equal("lethe\n", out)
  end)

  it("are not hidden by a lethe.so on LUA_CPATH, which has no luaopen_lethe", function()
    local dir = program.path:match("^(.*)/") or "."
    local out = run(("LUA_PATH=none LUA_CPATH='%s/?.so' lethe -e '%s'"):format(dir,
      'print(require("lethe")._VERSION, require("lethe.registry") ~= nil)'))
    assert.are.equal("lethe 0.1.0\ttrue\n", out)
  end)

  it("have names that read well in tracebacks", function()
    local out = run([[LUA_PATH=none lethe -e '
      local registry, from = require "lethe.registry"
      print(debug.getinfo(registry.new, "S").source, from)']])
    assert.are.equal("@lethe/registry.lua\t:embedded:lethe/registry.lua\n", out)
  end)
end)

describe("the prompt of lethe", function()
  after_each(program.clean)

  it("prints what expressions give", function()
    local out = run("lethe -i", "1 + 1, nil\n= 'a'\nx = 3\nx\nreturn x + 1\nlocal y\n")
    assert.are.equal("> 1 + 1, nil\n2\tnil\n> = 'a'\na\n> x = 3\n> x\n3\n> return x + 1\n4\n"
      .. "> local y\n> \n", (out:gsub("^.-\n> ", "> ", 1)))
  end)

  it("reads on while a chunk is incomplete", function()
    local out = run("lethe -i -e \"_PROMPT, _PROMPT2 = '1 ', '2 '\"",
      "for i = 1, 2 do\n\nprint(i * 7)\nend\ns = [[a\nb]]\n=s\n")
    assert.matches("1 for i = 1, 2 do\n2 \n2 print(i * 7)\n2 end\n7\n14\n1 s = [[a\n2 b]]\n"
      .. "1 =s\na\nb\n1 \n", out, 1, true)
  end)

  it("goes on after errors", function()
    local out, err, code = run("lethe -i", "error('bad')\n)\nerror()\nprint('on')\nfor")
    assert.are.equal(0, code)
    assert.matches("\non\n", out, 1, true)
    assert.matches("^stdin:1: bad\nstack traceback:", err)
    assert.matches("stdin:1: unexpected symbol near ')'\n(error object is a nil value)", err, 1,
      true)
    assert.matches("near <eof>\n$", err)
  end)

  it("runs each line as a task, and tasks between lines", function()
    local out = run("lethe -i", LOOP:gsub("local ", "") .. "coroutine.isyieldable()\n"
      .. "t = loop:spawn(print, 'spawned')\nloop:sleep(0.001)\n")
    assert.matches("isyieldable()\ntrue\n", out, 1, true)
    assert.matches("'spawned')\nspawned\n", out, 1, true)
    assert.matches("sleep(0.001)\ntrue\n", out, 1, true)
  end)

  it("follows a script with -i, but not one that fails", function()
    local path = file("x = 5 print('script', ...)")
    local out, _, code = run("lethe -i " .. path .. " a", "x\n")
    assert.matches("script\ta\n> x\n5\n", out, 1, true)
    assert.are.equal(0, code)
    out, _, code = run("lethe -i " .. file("error('x')"), "print('no')\n")
    assert.are.equal(1, code)
    assert.not_matches("> ", out, 1, true)
  end)

  it("names an error in print", function()
    local _, err = run("lethe -e 'print = nil' -i", "1\n")
    assert.matches("error calling 'print'", err, 1, true)
  end)

  it("keeps a history on a terminal", function()
    local history = file("")
    local typed = "6 * 7\nx = [[a\nb]]\nos.exit(5, true)\n"
    local command = "LETHE_HISTORY=" .. history .. " TERM=xterm lethe"
    local out, code = program.terminal(command, typed)
    assert.are.equal(5, code)
    assert.matches("42\r?\n", out)
    assert.are.equal("6 * 7\nx = [[a\nb]]\nos.exit(5, true)\n", program.read(history))
    out = program.terminal(command, "\16\16\16\16\nos.exit()\n")
    assert.matches("42", out, 1, true)
  end)

  it("keeps its history in the home directory by default", function()
    local home = program.directory()
    program.terminal("env -u LETHE_HISTORY HOME=" .. home .. " TERM=dumb lethe",
      "x = 1\nos.exit()\n")
    assert.are.equal("x = 1\nos.exit()\n", program.read(home .. "/.lethe_history"))
  end)
end)

describe("lethe help", function()
  after_each(program.clean)

  it("lists what there is", function()
    local out, _, code = run("lethe help")
    assert.are.equal(0, code)
    for _, word in ipairs(require("lethe.cli").WORDS) do
      assert.matches(("\n  %s  "):format(word), out, 1, true)
    end
  end)

  it("explains a word", function()
    local out = run("lethe help spec")
    assert.matches("--filter PATTERN", out, 1, true)
    assert.are.equal(out, (run("lethe spec --help")))
  end)

  it("does not know others", function()
    local out, err, code = run("lethe help spce")
    assert.are.same({ "", 2 }, { out, code })
    assert.matches('unknown command "spce" (did you mean "spec"?)', err, 1, true)
    assert.are.equal(2, (select(3, run("lethe help spec help"))))
  end)

  it("leaves a script of that name to its path", function()
    local dir = program.directory()
    assert(os.execute("echo 'print(\"mine\", ...)' > " .. dir .. "/spec"))
    local lethe = "$p "
    local out = run(("p=$(readlink -f %s) && cd %s && %s ./spec a && %s -- spec b"):format(
      program.quote(program.path), dir, lethe, lethe))
    assert.are.equal("mine\ta\nmine\tb\n", out)
  end)
end)

describe("lethe spec", function()
  after_each(program.clean)

  it("names wrong usage, with exit code 2", function()
    for bad, message in pairs{
      ["--sede 3"] = 'unknown option "--sede" (did you mean "--seed"?)',
      ["--seed x"] = 'bad value "x" of option "--seed"',
      ["--seed"] = 'option "--seed" needs a value',
      ["-o xml"] = 'bad value "xml" of option "--output" (plain, tap or junit expected)',
      ["--filter ["] = 'bad value "[" of option "--filter"',
      ["--shuffle=yes"] = 'option "--shuffle" takes no value',
    } do
      local out, err, code = run("lethe spec " .. bad)
      assert.are.same({ "", 2 }, { out, code })
      assert.matches(message, err, 1, true)
    end
  end)

  it("has colour on a terminal only, and never with NO_COLOR", function()
    local command = "lethe spec spec/data/specs/passing.lua"
    assert.not_matches("\27", (run("TERM=xterm " .. command)), 1, true)
    assert.matches("\27[32m", program.terminal("env -u NO_COLOR TERM=xterm " .. command), 1, true)
    assert.matches("\27[32m", program.terminal("NO_COLOR= TERM=xterm " .. command), 1, true)
    assert.not_matches("\27", program.terminal("NO_COLOR=1 TERM=xterm " .. command), 1, true)
    assert.not_matches("\27", program.terminal("env -u NO_COLOR TERM=dumb " .. command), 1, true)
  end)
end)
