-- JUnit XML, written in one piece when the run is over. Whatever bytes a name or message has, the
-- document is well-formed UTF-8: what XML cannot carry is replaced.
local M = {}

---@class lethe.spec.JunitReport
local Junit = {}
Junit.__index = Junit

---@param out file*
---@param style { seed: integer }
function M.new(out, style)
  return setmetatable({ out = out, seed = style.seed, suites = {} }, Junit)
end

local REPLACEMENT <const> = "\u{FFFD}"

local function is_char(code)
  return code == 9 or code == 10 or code == 13 or (code >= 0x20 and code <= 0xD7FF)
    or (code >= 0xE000 and code <= 0xFFFD) or (code >= 0x10000 and code <= 0x10FFFF)
end

-- Only characters that an XML document may hold.
local function clean(text)
  if not text:find("[^\t\n\r\32-\126]") then
    return text
  end
  local parts, at = {}, 1
  while at <= #text do
    local ok, code = pcall(utf8.codepoint, text, at)
    parts[#parts + 1] = ok and is_char(code) and utf8.char(code) or REPLACEMENT
    at = at + (ok and #utf8.char(code) or 1)
  end
  return table.concat(parts)
end

local ENTITIES <const> = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&apos;",
  ["\n"] = "&#10;", ["\r"] = "&#13;", ["\t"] = "&#9;",
}

local function attribute(text)
  return (clean(text):gsub("[&<>\"'\n\r\t]", ENTITIES))
end

local function content(text)
  return (clean(text):gsub("[&<>\r]", ENTITIES))
end

function Junit:start()
  self.timestamp = os.date("!%Y-%m-%dT%H:%M:%S")
end

function Junit:suite(path)
  local last = self.suites[#self.suites]
  if last and last.path == path then
    return last
  end
  local suite = { path = path, cases = {}, failures = 0, errors = 0, skipped = 0, seconds = 0 }
  self.suites[#self.suites + 1] = suite
  return suite
end

function Junit:file(path)
  self:suite(path)
end

function Junit.file_done() end

local COUNTED <const> = { failed = "failures", error = "errors", skipped = "skipped" }

function Junit:result(result)
  local suite = self:suite(result.file)
  suite.cases[#suite.cases + 1] = result
  suite.seconds = suite.seconds + (result.seconds or 0)
  local counter = COUNTED[result.status]
  if counter then
    suite[counter] = suite[counter] + 1
  end
end

function Junit:detail(result)
  if result.status == "skipped" then
    local reason = result.message and (' message="%s"'):format(attribute(result.message)) or ""
    return "      <skipped" .. reason .. "/>\n"
  end
  local tag = result.status == "failed" and "failure" or "error"
  local text = ("%s\n%s\nseed %d"):format(result.message, result.trace or "", self.seed)
  return ('      <%s message="%s">%s</%s>\n'):format(tag, attribute(result.message or ""),
    content(text), tag)
end

function Junit:case(suite, result)
  local class = suite.path:gsub("%.lua$", ""):gsub("/", ".")
  local head = ('    <testcase classname="%s" name="%s" time="%.6f"'):format(attribute(class),
    attribute(result.name), result.seconds or 0)
  if result.status == "passed" then
    self.out:write(head, "/>\n")
  else
    self.out:write(head, ">\n", self:detail(result), "    </testcase>\n")
  end
end

local function totals(tests, failures, errors, skipped, seconds)
  return ('tests="%d" failures="%d" errors="%d" skipped="%d" time="%.6f"'):format(tests, failures,
    errors, skipped, seconds)
end

---@param counts lethe.spec.Counts
function Junit:finish(counts)
  local tests = counts.passed + counts.failed + counts.skipped
  self.out:write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ', totals(tests,
    counts.failed - counts.errors, counts.errors, counts.skipped, counts.seconds), ">\n")
  for _, suite in ipairs(self.suites) do
    self.out:write(('  <testsuite name="%s" timestamp="%s" %s>\n'):format(attribute(suite.path),
      self.timestamp, totals(#suite.cases, suite.failures, suite.errors, suite.skipped,
      suite.seconds)))
    self.out:write(('    <properties>\n      <property name="seed" value="%d"/>\n'):format(
      self.seed), "    </properties>\n")
    for _, result in ipairs(suite.cases) do
      self:case(suite, result)
    end
    self.out:write("  </testsuite>\n")
  end
  self.out:write("</testsuites>\n")
  self.out:flush()
end

return M
