--- A live view of a running program: a web server on the loopback address that shows what its
-- engines do.
--
--   local server = assert(require("lethe.inspect").serve{ port = 8080 })
--   print(server:url())
--
-- `/` is a page that refreshes itself, `/metrics` is for Prometheus, `/stats.json` is what stats()
-- of every watched object says. Trackers, epoch managers, caches, registries and kernels of this
-- Lua state are watched by themselves. The server answers from the loop: no engine waits for a
-- reader, and figures are read only when somebody asks. It keeps its loop going until it is closed.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.inspect"
local json = require "lethe.json"
local loop = require "lethe.loop"
local metrics = require "lethe.inspect.metrics"
local page = require "lethe.inspect.page"
local watch = require "lethe.inspect.watch"

---@class lethe.inspect
local M = {}

---@class lethe.inspect.Server
local Server = core.methods

local views = setmetatable({}, { __mode = "k" }) -- of servers

local NOT_FOUND <const> = "here are /, /metrics and /stats.json\n"

-- Names are bytes; what both formats want is UTF-8.
local function as_utf8(text)
  local parts, from = {}, 1
  while true do
    local whole <const>, wrong = utf8.len(text, from)
    if whole then break end
    parts[#parts + 1], from = text:sub(from, wrong - 1) .. "\u{FFFD}", wrong + 1
  end
  return table.concat(parts) .. text:sub(from)
end

-- Each object by itself: one whose figures are no JSON is left out, as is one that has none.
local function figures_text(view)
  local objects = {}
  for _, object in ipairs(watch.figures(view.watched)) do
    local ok, text = pcall(json.encode, object)
    if ok then objects[#objects + 1] = text end
  end
  return as_utf8(('{"objects":[%s],"time":%s,"title":%s}'):format(table.concat(objects, ","),
    json.encode(view.loop:now()), json.encode(view.title)))
end

local function answer(view, path)
  if path == "/" then return 200, "text/html; charset=utf-8", page.html(view.title) end
  if path == "/metrics" then
    return 200, metrics.CONTENT_TYPE, as_utf8(metrics.text(watch.figures(view.watched)))
  end
  if path == "/stats.json" then
    return 200, "application/json", figures_text(view)
  end
  return 404, "text/plain; charset=utf-8", NOT_FOUND
end

local function check_port(port)
  if math.type(port) ~= "integer" or port < 0 or port > 65535 then
    error(("port must be an integer from 0 to 65535 (got %s)"):format(tostring(port)), 3)
  end
end

--- Serves on 127.0.0.1; port 0 takes a free one.
---@param options { port: integer?, loop: lethe.loop.Loop?, title: string? }?
---@return lethe.inspect.Server? server
---@return string? message
---@return string? code "in_use"
function M.serve(options)
  options = options or {}
  base.options(options, { "port", "loop", "title" }, 2)
  local port <const> = options.port or 0
  check_port(port)
  local home <const> = check.object(options, "loop", "loop.Loop", 2) or loop.default()
  local title = check.typed(options, "title", "string", 2)
  local view = {
    loop = home,
    title = title or arg and arg[0] or "lethe",
    watched = watch.new(),
  }
  local server, message, code = core.serve(view.loop, port, function(path)
    return answer(view, path)
  end)
  if not server then return nil, message, code end
  views[server] = view
  return server
end

--- Where it is: "http://127.0.0.1:PORT/".
---@return string
function Server:url()
  base.check(self, "inspect.Server")
  return ("http://127.0.0.1:%d/"):format(self:port())
end

--- Shows one object more, or one that is shown anyway under another name. It is kept weakly.
---@param object table|userdata has stats()
---@param name string?
function Server:watch(object, name)
  base.check(self, "inspect.Server")
  if name ~= nil and type(name) ~= "string" then
    error(("bad argument #2 to 'watch' (string expected, got %s)"):format(type(name)), 2)
  end
  if not watch.has_stats(object) then
    error(("bad argument #1 to 'watch' (an object with stats() expected, got %s)")
      :format(base.type(object) or type(object)), 2)
  end
  if base.type(object) and not base.open(object) then
    error(("bad argument #1 to 'watch' (a closed lethe.%s)"):format(base.type(object)), 2)
  end
  watch.add(views[self].watched, object, name)
end

return M
