-- The live view: what it serves, what it refuses, and that figures and engines agree. A client runs
-- in a worker, so that the loop here is free to answer it.

local epoch = require "lethe.epoch"
local errors = require "spec.support.errors"
local inspect = require "lethe.inspect"
local json = require "lethe.json"
local loop = require "lethe.loop"
local metrics = require "lethe.inspect.metrics"
local program = require "spec.support.program"
local quota = require "lethe.quota"
local registry = require "lethe.registry"
local worker = require "lethe.worker"

-- What a shell command prints, while the loop here turns.
local function outside(command)
  local w = worker.spawn(function(line)
    local pipe = assert(io.popen(line))
    local text = pipe:read("a")
    pipe:close()
    return text
  end, command)
  return assert(w:join())
end

local function request(server, text)
  local file = program.file(text)
  return outside(("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d && cat %s >&3 && cat <&3' 2>&1")
    :format(server:port(), file))
end

local function get(server, path)
  local answer = request(server, ("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(path))
  return answer:match("\r\n\r\n(.*)$"), tonumber(answer:match("^HTTP/1.1 (%d+)")), answer
end

local function object_named(server, name)
  for _, object in ipairs(json.decode((get(server, "/stats.json"))).objects) do
    if object.name == name then return object end
  end
end

describe("a live view", function()
  local server

  before_each(function()
    server = assert(inspect.serve{ title = "a <view>" })
  end)

  after_each(function()
    server:close()
    program.clean()
  end)

  it("has a port and a URL", function()
    assert.is_true(server:port() > 0)
    assert.are.equal(("http://127.0.0.1:%d/"):format(server:port()), server:url())
    assert.are.equal("inspect.Server", require("lethe").type(server))
  end)

  it("serves one self-contained page", function()
    local page, status, answer = get(server, "/")
    assert.are.equal(200, status)
    assert.is_truthy(answer:find("Content-Type: text/html; charset=utf-8", 1, true))
    assert.is_truthy(page:find("<title>a &lt;view&gt;</title>", 1, true))
    assert.is_nil(page:find("src=", 1, true))
    assert.is_nil(page:find("@import", 1, true))
    for link in page:gmatch('https?://[^"]+') do
      assert.are.equal("http://www.w3.org/2000/svg", link)
    end
  end)

  it("answers only who is here, only GET, only what is there", function()
    local function status(text)
      return tonumber(request(server, text):match("^HTTP/1.1 (%d+)"))
    end
    assert.are.equal(403, status "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert.are.equal(405, status "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert.are.equal(405,
      status "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na=b")
    assert.are.equal(403, status "GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n")
    assert.are.equal(404, status "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert.are.equal(200, status "GET /?query HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert.are.equal(404, status "GET //nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert.are.equal(403, status "GET http://example.org/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert.are.equal(200, status "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
  end)

  it("tells what stats() tells, of trackers, managers and registries", function()
    local tracker <close> = assert(quota.new{ max = "1M", low_water = "512K" })
    local manager <close> = epoch.new{}
    local mine <close> = registry.new()
    server:watch(tracker, "the tracker")
    server:watch(manager, "the manager")
    server:watch(mine, "the registry")
    local account = tracker:account{ name = "big" }
    local p = assert(account:participant{ get_oldest = function() end, reclaim = function() end })
    assert(p:claim(100000))
    local told = object_named(server, "the tracker")
    assert.are.equal("quota.Tracker", told.type)
    for _, field in ipairs{ "used", "peak", "max", "low_water", "accounts", "participants" } do
      assert.are.equal(tracker:stats()[field], told.stats[field], field)
    end
    assert.are.equal("big", told.stats.top[1].name)
    assert.are.equal("normal", told.stats.level)
    assert.are.equal(1, object_named(server, "the manager").stats.epoch)
    assert.are.equal(0, object_named(server, "the registry").stats.live)
  end)

  it("shows by itself what this state makes, while it lives", function()
    local function count(kind)
      local n = 0
      for _, object in ipairs(json.decode((get(server, "/stats.json"))).objects) do
        if object.type == kind then n = n + 1 end
      end
      return n
    end
    collectgarbage()
    local before = count "epoch.Manager"
    local manager = epoch.new{}
    assert.are.equal(before + 1, count "epoch.Manager")
    manager:close()
    assert.are.equal(before, count "epoch.Manager")
  end)

  it("keeps the names it gave, and nothing alive", function()
    local first, second <close> = epoch.new{}, epoch.new{}
    server:watch(second, 'a "second"\n')
    local gone = setmetatable({ first }, { __mode = "v" })
    assert.is_truthy(get(server, "/metrics"):find('name="a \\"second\\"\\n"', 1, true))
    first = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_nil(gone[1])
    assert.is_truthy(object_named(server, 'a "second"\n'))
  end)

  it("has a metric for each number that stats() gives", function()
    local tracker <close> = assert(quota.new{})
    local manager <close> = epoch.new{}
    local mine <close> = registry.new()
    local kernel <close> = require("lethe.vat").kernel{}
    local cache <close> = require("lethe.cache").new{ limit = 1, backend = { load = print } }
    for _, object in ipairs{ tracker, manager, mine, kernel, cache } do
      local known = {}
      for _, row in ipairs(metrics.ENGINES[require("lethe").type(object)]) do
        known[row[1]] = true
      end
      for field, value in pairs(object:stats()) do
        if type(value) == "number" then assert.is_true(known[field], field) end
      end
    end
  end)

  it("is read by Prometheus' own parser", function()
    local tracker <close> = assert(quota.new{ max = "1M", low_water = "512K" })
    local manager <close> = epoch.new{}
    local handle = assert(manager:register())
    local account <close> = tracker:account{ name = 'a "quoted\\" name\nin two lines' }
    local path = program.file((get(server, "/metrics")))
    local parsed = outside(([[/usr/bin/python3 -c '
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
for family in parse(open(sys.argv[1]).read()):
    assert family.documentation, family.name
    assert family.type in ("gauge", "counter"), family.name
    for sample in family.samples:
        print(family.type, sample.name, sample.labels.get("name"), sample.value,
              repr(sample.labels.get("account")))
' %s 2>&1]]):format(path))
    assert.is_truthy(parsed:find("gauge lethe_quota_max_bytes tracker %d+ 1048576.0"))
    assert.is_truthy(parsed:find("counter lethe_epoch_advances_total manager %d+ 0.0"))
    assert.is_truthy(parsed:find("gauge lethe_epoch_thread_limbo_objects"))
    assert.is_truthy(parsed:find([['a "quoted\\" name\nin two lines']], 1, true))
    assert.is_nil(parsed:find("Traceback"))
    assert.is_not_nil(account)
    assert.is_false(handle:pinned())
  end)

  it("tells apart in its metrics what has one name", function()
    local cache = require "lethe.cache"
    local one <close> = cache.new{ limit = 1, name = "same", backend = { load = print } }
    local two <close> = cache.new{ limit = 1, name = "same", backend = { load = print } }
    local tracker <close> = assert(quota.new{ max = "1M" })
    local a <close> = tracker:account{ name = "twin" }
    local b <close> = tracker:account{ name = "twin" }
    local text, seen, n = get(server, "/metrics"), {}, 0
    for series in text:gmatch("\n(lethe[^\n]*}) ") do
      assert.is_nil(seen[series], series)
      seen[series], n = true, n + 1
    end
    assert.is_truthy(n > 20)
    assert.is_true(seen['lethe_cache_hits_total{name="same"}'])
    assert.is_true(seen['lethe_cache_hits_total{name="same",nth="2"}'])
    assert.are.same({ one:len(), two:len(), a:used(), b:used() }, { 0, 0, 0, 0 })
  end)

  it("writes UTF-8, whatever bytes a name has", function()
    local tracker <close> = assert(quota.new{ max = "1M" })
    server:watch(tracker, "a\xffb\xc3")
    local fixed <const> = "a\u{FFFD}b\u{FFFD}"
    assert.is_table(object_named(server, fixed))
    assert.is_truthy(get(server, "/metrics"):find(('name="%s"'):format(fixed), 1, true))
    assert.is_truthy(utf8.len((get(server, "/stats.json"))))
  end)

  it("draws in a browser what there is, and escapes it", function()
    local tracker <close> = assert(quota.new{ max = "1M", low_water = "512K" })
    server:watch(tracker, "the tracker")
    local account <close> = tracker:account{ name = "<b>big</b>" }
    local p <close> = assert(account:participant{
      get_oldest = function() end, reclaim = function() end })
    assert(p:claim(300 * 1024 - tracker:used()))
    local dom = outside(("timeout 60 chromium --headless --no-sandbox --disable-gpu "
      .. "--virtual-time-budget=4000 --dump-dom %s 2>/dev/null"):format(server:url()))
    assert.is_truthy(dom:find("<h2>the tracker ", 1, true))
    assert.is_truthy(dom:find('<polyline class="used" points="%d+,%d'))
    assert.is_truthy(dom:find("used 300.0 KiB, max 1.0 MiB, low water 512.0 KiB", 1, true))
    assert.is_truthy(dom:find("&lt;b&gt;big&lt;/b&gt;", 1, true))
    assert.is_nil(dom:find("<b>big", 1, true))
  end)

  it("shows caches and vats", function()
    local vats <close> = require("lethe.vat").kernel{}
    local root = vats:vat("a", function() return { keep = function(self, x) self.x = x end } end)
    local other = vats:vat("b", function() return {} end)
    vats:await(vats:send(root, "keep", other))
    local cache <close> = require("lethe.cache").new{ limit = 2, name = "pages", backend = {
      load = function(_, k) return k end,
    } }
    cache:get(1)
    cache:get(1)
    server:watch(vats, "the kernel")
    local text = get(server, "/metrics")
    assert.is_truthy(text:find('lethe_vat_imports{name="the kernel",vat="a"} 1', 1, true))
    assert.is_truthy(text:find('lethe_vat_imports{name="the kernel",vat="b"} 0', 1, true))
    assert.is_truthy(text:find('lethe_cache_hits_total{name="pages"} 1', 1, true))
    assert.are.equal(2, object_named(server, "the kernel").stats.vats)
  end)

  it("goes on though nobody keeps it, and keeps its loop going", function()
    local out, err, code = program.script [[
      local inspect, loop = require "lethe.inspect", require "lethe.loop".default()
      local port = assert(inspect.serve{ loop = loop }):port()
      collectgarbage()
      collectgarbage()
      print((select(3, inspect.serve{ port = port })))
      loop:timer(0.02, function() print "and on" os.exit(0, true) end)
      loop:run()
      print "ended"
    ]]
    assert.are.same({ "in_use\nand on\n", "", 0 }, { out, err, code })
  end)

  it("closes its port, and twice is once", function()
    local port = server:port()
    assert.is_true(server:close())
    assert.is_true(server:close())
    for _, call in ipairs{
      function() server:port() end, function() return server:url() .. "" end,
      function() server:watch(epoch.new{}) end,
    } do
      assert.are.equal("attempt to use a closed lethe.inspect.Server", errors.at_its_line(call))
    end
    assert(inspect.serve{ port = port }):close()
  end)

  it("says what is wrong with its arguments", function()
    assert.error_matches(function() inspect.serve{ prot = 1 } end, 'did you mean "port"')
    assert.error_matches(function() inspect.serve{ port = "80" } end, "port must be an integer")
    assert.error_matches(function() inspect.serve{ port = 70000 } end, "0 to 65535")
    assert.error_matches(function() inspect.serve{ title = 1 } end, "title must be a string")
    assert.are.equal("loop must be a lethe.loop.Loop (got number)",
      errors.at_its_line(function() inspect.serve{ loop = 3 } end))
    local closed = loop.new()
    closed:close()
    assert.are.equal("loop is a closed lethe.loop.Loop",
      errors.at_its_line(function() inspect.serve{ loop = closed } end))
    assert.error_matches(function() server:watch({}) end, "stats%(%)")
    assert.error_matches(function() server:watch(server) end, "inspect.Server")
    assert.error_matches(function() server:watch(epoch.new{}, 1) end, "string expected")
    local dead = registry.new()
    dead:close()
    assert.are.equal("bad argument #1 to 'watch' (a closed lethe.registry.Registry)",
      errors.at_its_line(function() server:watch(dead) end))
  end)

  it("may be closed by what it asks", function()
    local asked = 0
    local object = { stats = function()
      asked = asked + 1
      server:close()
      return {}
    end }
    server:watch(object, "the end")
    get(server, "/stats.json")
    assert.is_table(object) -- watching keeps nothing alive
    assert.are.equal(1, asked)
  end)

  it("leaves out what fails, and serves the rest", function()
    local broken = { stats = function() error "no" end }
    local whole = { stats = function() return { n = 1 } end }
    local endless = { stats = function(self) return { self = self, f = print } end }
    server:watch(broken, "broken")
    server:watch(endless, "endless")
    server:watch(whole, "whole")
    assert.is_nil(object_named(server, "broken"))
    assert.is_nil(object_named(server, "endless"))
    assert.are.equal(whole.stats().n, object_named(server, "whole").stats.n)
    assert.is_table(broken)
    assert.is_table(endless)
  end)
end)
