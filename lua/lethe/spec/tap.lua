-- The Test Anything Protocol: a line per test, details and counts as comments, the plan last, since
-- blocks may declare tests while the run is under way.
local M = {}

---@class lethe.spec.TapReport
local Tap = {}
Tap.__index = Tap

---@param out file*
---@param style { seed: integer }
function M.new(out, style)
  return setmetatable({ out = out, seed = style.seed, ran = 0 }, Tap)
end

local function one_line(text)
  return (text:gsub("%s*[\r\n]+%s*", " "))
end

-- A "#" in a name starts a directive where one of two words follows.
local function name_of(text)
  return (one_line(text):gsub("#(%s*%a%a%a%a)", function(word)
    local directive = word:lower():match("%a+")
    return ((directive == "todo" or directive == "skip") and "\\#" or "#") .. word
  end))
end

function Tap:comment(text)
  self.out:write("# ", (text:gsub("[\r\n]+", "\n# ")), "\n")
end

function Tap:start()
  self.out:write("TAP version 13\n")
end

function Tap:file(path)
  self:comment(path)
end

function Tap.file_done() end

function Tap:result(result)
  self.ran = self.ran + 1
  local name = ("%d - %s: %s"):format(self.ran, name_of(result.file), name_of(result.name))
  if result.status == "passed" then
    self.out:write("ok ", name, "\n")
  elseif result.status == "skipped" then
    local reason = result.message and " " .. one_line(result.message) or ""
    self.out:write("ok ", name, " # SKIP", reason, "\n")
  else
    self.out:write("not ok ", name, "\n")
    self:comment(result.message or "no message")
    if result.trace and result.trace ~= "" then
      self:comment(result.trace)
    end
    self:comment(("seed %d"):format(self.seed))
  end
  self.out:flush()
end

---@param counts lethe.spec.Counts
function Tap:finish(counts)
  self.out:write(("1..%d\n"):format(self.ran))
  self:comment(("%d passed, %d failed, %d skipped"):format(counts.passed, counts.failed,
    counts.skipped))
  self.out:flush()
end

return M
