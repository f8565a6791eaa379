-- What an error raised in a spec means: a failed assertion, a skip, or a plain error; and what a
-- reader is told about it. Failures and skips travel as small objects, everything else as it came.
local M = {}

local Failure = { __type = "failure" }
function Failure:__tostring()
  return tostring(self.message)
end

local Skip = { __type = "pending" }
function Skip:__tostring()
  return tostring(self.message or "")
end

---@class lethe.spec.Outcome
---@field status "passed" | "failed" | "error" | "skipped"
---@field message string?
---@field trace string?

---Raises a failed assertion; luassert's own `error` is replaced by this one.
---@param message any
---@param level integer?
function M.fail(message, level)
  local placed = message
  if type(message) == "string" then
    local _
    _, placed = pcall(error, message, (level or 1) + 2)
  end
  error(setmetatable({ message = placed }, Failure), 0)
end

---Raises a skip.
---@param message any
function M.skip(message)
  error(setmetatable({ message = message }, Skip), 0)
end

-- Whether a chunk belongs to the machinery around a spec: this folder, or luassert.
local HERE <const> = debug.getinfo(1, "S").source:match("^@(.*)[/\\]")
local function is_ours(source)
  return source:sub(2, #HERE + 2) == HERE .. "/" or source:find("[/\\]luassert[/\\]") ~= nil
end

local DEEPEST <const> = 50

-- The stack from the level up as debug.traceback shows it, but without the machinery: only what
-- happened in the spec and under it. Frames of C count with the Lua frame below them.
local function stack(level)
  local lines, pending = { "stack traceback:" }, {}
  for depth = level, level + DEEPEST do
    local info = debug.getinfo(depth, "S")
    if info == nil or info.source == "@" .. HERE .. "/run.lua" then
      break
    end
    pending[#pending + 1] = debug.traceback(nil, depth):match("\n(\t[^\n]*)")
    if is_ours(info.source) then
      pending = {}
    elseif info.what ~= "C" then
      table.move(pending, 1, #pending, #lines + 1, lines)
      pending = {}
    end
  end
  return #lines > 1 and table.concat(lines, "\n") or nil
end

-- The last error that `relay` let through, with the stack it was raised on.
local relayed = nil

---A message handler for whoever catches an error to raise it again: puts `suffix` behind the
---message and keeps the stack for the report. A skip stays what it is.
---@param err any
---@param suffix string
---@return any err what to raise
function M.relay(err, suffix)
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and rawget(meta, "__type") == "pending" then
    return err
  elseif type(err) == "string" then
    err = err .. suffix
  elseif type(err) == "table" and type(rawget(err, "message")) == "string" then
    err.message = err.message .. suffix
  end
  relayed = { err = err, trace = stack(3) }
  return err
end

-- Where the innermost frame outside the machinery stands.
local function position(level)
  for depth = level, level + DEEPEST do
    local info = debug.getinfo(depth, "Sl")
    if info == nil then
      break
    elseif info.currentline > 0 and not is_ours(info.source) then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
  end
  return ""
end

local function describe(err)
  if type(err) == "string" then
    return err
  end
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and meta.__tostring then
    local ok, text = pcall(tostring, err)
    return ok and text or "(an error object whose __tostring fails)"
  end
  if err == nil then
    return "nil error"
  end
  return require("luassert.state").format_argument(err) or tostring(err)
end

---Turns an error into an outcome; a message handler.
---@param err any
---@return lethe.spec.Outcome
function M.caught(err)
  local meta = debug.getmetatable(err)
  local seen = relayed
  relayed = nil
  if meta == Skip then
    local reason = err.message
    return { status = "skipped", message = reason ~= nil and tostring(reason) or nil }
  end
  local message = describe(err)
  if not message:find("^[^\n]-:%d+: ") then
    message = position(3) .. message
  end
  local trace = stack(3)
  if seen and rawequal(seen.err, err) then
    trace = seen.trace
  end
  return { status = meta == Failure and "failed" or "error", message = message, trace = trace }
end

return M
