-- The report for people: a line per spec file, what failed and how to run it again, and the closing
-- line with the counts. Colour and the progress line only where the stream is a terminal.
local M = {}

---@class lethe.spec.PlainReport
local Plain = {}
Plain.__index = Plain

local COLOURS <const> = { red = 31, green = 32, yellow = 33, bold = 1 }

---@param out file* where the report goes
---@param style { colour: boolean, progress: file*?, verbose: boolean, seed: integer }
function M.new(out, style)
  return setmetatable({ out = out, style = style, ran = 0 }, Plain)
end

function Plain:paint(text, colour)
  if not self.style.colour then
    return text
  end
  return ("\27[%dm%s\27[0m"):format(COLOURS[colour], text)
end

function Plain:progress(text)
  local stream = self.style.progress
  if stream then
    stream:write("\r\27[K", text)
    stream:flush()
  end
end

function Plain:line(...)
  self:progress("")
  self.out:write(...)
  self.out:write("\n")
end

function Plain.start() end

function Plain:file()
  self.tally = { passed = 0, failed = 0, skipped = 0 }
  self.seconds = 0
end

local MARKS <const> = {
  passed = { "ok", "green" },
  failed = { "FAILED", "red" },
  error = { "ERROR", "red" },
  skipped = { "skipped", "yellow" },
}

local function indent(text)
  return "    " .. text:gsub("\n", "\n    ")
end

local function shell_quote(text)
  if text:find("^[%w_./=-]+$") then
    return text
  end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

function Plain:again(result)
  local filter = ""
  if result.title then
    filter = " --filter " .. shell_quote((result.title:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")))
  end
  self:line(indent(("seed %d; again: lethe spec --seed %d%s %s"):format(self.style.seed,
    self.style.seed, filter, shell_quote(result.file))))
end

function Plain:result(result)
  self.ran = self.ran + 1
  if self.tally == nil then
    self:file()
  end
  local status = result.status == "error" and "failed" or result.status
  self.tally[status] = self.tally[status] + 1
  self.seconds = self.seconds + (result.seconds or 0)
  local mark = MARKS[result.status]
  if status == "failed" or self.style.verbose then
    local reason = status == "skipped" and result.message and (" (%s)"):format(result.message) or ""
    self:line("  ", self:paint(mark[1], mark[2]), " ", result.name, reason)
  end
  if status == "failed" then
    self:line(indent(result.message or "no message"))
    if result.trace and result.trace ~= "" then
      self:line(indent(result.trace))
    end
    self:again(result)
  end
  self:progress(("%d  %s"):format(self.ran, result.file))
end

function Plain:file_done(path)
  local tally = self.tally
  local parts = { ("%d passed"):format(tally.passed) }
  if tally.failed > 0 then
    parts[#parts + 1] = ("%d failed"):format(tally.failed)
  end
  if tally.skipped > 0 then
    parts[#parts + 1] = ("%d skipped"):format(tally.skipped)
  end
  local mark = MARKS[tally.failed > 0 and "failed" or "passed"]
  self:line(self:paint(mark[1], mark[2]), " ", path, ": ", table.concat(parts, ", "),
    (" (%.2f s)"):format(self.seconds))
end

---@param counts lethe.spec.Counts
function Plain:finish(counts)
  self:progress("")
  if counts.passed + counts.failed + counts.skipped == 0 then
    self:line(self:paint("no test ran", "red"))
  end
  self:line(self:paint(("%d passed, %d failed, %d skipped"):format(counts.passed, counts.failed,
    counts.skipped), counts.failed > 0 and "red" or "green"))
  self.out:flush()
end

return M
