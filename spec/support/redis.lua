-- A Redis server for specs, from Debian's package: on a free port of the loopback, with a folder of
-- its own; it can be killed, stalled and started again. It ends with the process that started it,
-- however that ends: a shell reads from a pipe of ours, and kills the server when that is closed.

local loop = require "lethe.loop"

local M = {}

---@class Server
local Server = {}
Server.__index = Server

local function contents(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

-- Polls until fn() gives something; nil after ten seconds.
local function eventually(fn)
  local clock = loop.default()
  local deadline = clock:now() + 10
  repeat
    local value = fn()
    if value then return value end
    clock:sleep(0.005)
  until clock:now() > deadline
  return nil
end

-- A name that nothing has, and a port that follows from it, so that runs beside each other differ.
local function folder_and_port()
  local name = os.tmpname()
  local port = 0
  for i = 1, #name do
    port = (port * 31 + name:byte(i)) % 12000 -- below what clients get
  end
  return name, 20000 + port
end

-- Whether there is such a process; one that nobody has waited for yet is gone.
local function runs(pid)
  local state = contents(("/proc/%s/stat"):format(pid)):match("%) (%a)")
  return state ~= nil and state ~= "Z"
end

-- Whether anybody listens on the port of the loopback. Of a process that was killed it is the last
-- of its threads that lets go of it.
local function is_taken(port)
  return contents("/proc/net/tcp"):find((": 0100007F:%04X %%x+:%%x+ 0A "):format(port)) ~= nil
end

function Server:signal(name)
  os.execute(("kill -%s %s 2>/dev/null"):format(name, self.pid))
end

-- True once it takes commands, false if the port is taken.
function Server:try_start()
  os.remove(self.folder .. "/log")
  os.remove(self.folder .. "/pid")
  local words = { "redis-server", "--port", self.port, "--bind 127.0.0.1 --save ''", "--dir",
    self.folder, "--logfile", self.folder .. "/log", "--appendonly",
    self.durable and "yes --appendfsync always" or "no", self.options or "" }
  local run = "%s </dev/null & echo $! >%s/pid; cat >/dev/null; kill -9 $! 2>/dev/null"
  self.pipe = assert(io.popen(run:format(table.concat(words, " "), self.folder), "w"))
  self.pid = eventually(function() return contents(self.folder .. "/pid"):match("^(%d+)\n") end)
  return eventually(function()
    local log = contents(self.folder .. "/log")
    if log:find("Ready to accept connections", 1, true) then return "ready" end
    return not runs(self.pid) and "refused"
  end) == "ready"
end

--- Starts it again where it was.
function Server:start()
  assert(self:try_start(), "redis-server did not start: " .. contents(self.folder .. "/log"))
end

--- Kills it as a power failure would.
function Server:kill()
  if not self.pipe then return end
  self:signal("KILL")
  self.pipe:close()
  self.pipe = nil
  eventually(function() return not runs(self.pid) and not is_taken(self.port) end)
end

--- What redis-cli prints for a command.
function Server:command(text)
  local pipe <close> = assert(io.popen(("redis-cli -p %d %s 2>&1"):format(self.port, text)))
  return (pipe:read("a"):gsub("\n$", ""))
end

--- Kills it for good.
function Server:close()
  if not self.folder then return end
  self:kill()
  os.execute(("rm -rf '%s'"):format(self.folder))
  self.folder = nil
end
Server.__close = Server.close

M.eventually = eventually

--- A server. `durable`: what it has answered survives its end. `options`: more of its command line.
---@param settings { durable: boolean?, options: string? }?
---@return Server
function M.start(settings)
  local folder, port = folder_and_port()
  assert(os.remove(folder) and os.execute(("mkdir -m 700 '%s'"):format(folder)))
  local self = setmetatable({ folder = folder, port = port }, Server)
  for name, value in pairs(settings or {}) do
    self[name] = value
  end
  for _ = 1, 20 do
    if self:try_start() then return self end
    self:kill()
    self.port = self.port + 1
  end
  local log = contents(folder .. "/log")
  self:close()
  error("redis-server did not start: " .. log)
end

return M
