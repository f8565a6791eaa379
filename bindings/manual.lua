-- The man page and the shells' completions, made of what `lethe help` says, so that no option is
-- told of twice: `build/lethe bindings/manual.lua man | bash | zsh` writes one to standard output.
-- It relies on the shape of the help texts: a first line "usage: ...", paragraphs, and tables whose
-- rows are indented, a term and its text apart by two blanks or more.
local cli = require "lethe.cli"
local help = require "lethe.cli.help"

-- ---- reading help texts -----------------------------------------------------------------------

-- { usage = lines, blocks = list of { text = string } and { rows = list of { term, text } } }
local function parse(text)
  local page = { usage = {}, blocks = {} }
  local block
  local function open(field, value)
    block = { [field] = value }
    page.blocks[#page.blocks + 1] = block
  end
  for line in text:gmatch("([^\n]*)\n") do
    local indent, term, rest = line:match("^(%s*)(%S.-)%s%s+(%S.*)$")
    if line:find("^usage:") or #page.blocks == 0 and line:find("^%s+lethe ") then
      page.usage[#page.usage + 1] = (line:gsub("^usage:%s*", ""):gsub("^%s+", ""))
    elseif line == "" then
      block = nil
    elseif term and #indent > 0 and #indent < 8 then
      if not block or not block.rows then open("rows", {}) end
      table.insert(block.rows, { term = term, text = rest })
    elseif block and block.rows and line:find("^%s") then
      local row = block.rows[#block.rows]
      row.text = row.text .. " " .. line:match("^%s*(.*)$")
    elseif block and block.text then
      block.text = block.text .. "\n" .. line
    else
      open("text", line)
    end
  end
  return page
end

local function pages()
  local list = {}
  for _, word in ipairs(cli.WORDS) do
    local command = cli.command(word)
    list[#list + 1] = { word = word, summary = command.summary, page = parse(command.help()) }
  end
  return list
end

-- The options that a page tells of, as { "-o", "--output" }, and their texts.
local function options(page)
  local list = {}
  for _, block in ipairs(page.blocks) do
    for _, row in ipairs(block.rows or {}) do
      local names = {}
      for name in row.term:gmatch("%-%-?[%w][%w%-]*") do
        names[#names + 1] = name
      end
      if row.term:find("^%-") and #names > 0 then
        list[#list + 1] = { names = names, text = row.text, takes = row.term:find("%s%u") ~= nil }
      end
    end
  end
  return list
end

-- ---- the man page -----------------------------------------------------------------------------

local function roff(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("^([.'])", "\\&%1")
    :gsub("\n([.'])", "\n\\&%1"))
end

local function man_blocks(out, page)
  for _, block in ipairs(page.blocks) do
    if block.text then
      out[#out + 1] = ".PP\n" .. roff(block.text)
    end
    for _, row in ipairs(block.rows or {}) do
      out[#out + 1] = (".TP\n.B %s\n%s"):format(roff(row.term), roff(row.text))
    end
  end
end

local function man()
  local overview = parse(help.overview())
  local out = {
    '.TH LETHE 1 "" "' .. require("lethe")._VERSION .. '" "User Commands"',
    ".SH NAME\nlethe \\- a Lua interpreter that embeds memory\\-reclamation engines",
    ".SH SYNOPSIS",
  }
  for _, usage in ipairs(overview.usage) do
    out[#out + 1] = ".B " .. roff(usage) .. "\n.br"
  end
  out[#out + 1] = ".SH DESCRIPTION"
  man_blocks(out, overview)
  out[#out + 1] = ".SH COMMANDS"
  for _, command in ipairs(pages()) do
    out[#out + 1] = ".SS " .. roff(command.page.usage[1])
    man_blocks(out, command.page)
  end
  out[#out + 1] = ".SH SEE ALSO\n.BR lua (1)"
  return table.concat(out, "\n") .. "\n"
end

-- ---- completions ------------------------------------------------------------------------------

local function words_of(list)
  local words, seen = {}, {}
  for _, option in ipairs(list) do
    for _, name in ipairs(option.names) do
      if not seen[name] then words[#words + 1] = name end
      seen[name] = true
    end
  end
  return table.concat(words, " ")
end

local function bash()
  local cases = {}
  for _, command in ipairs(pages()) do
    cases[#cases + 1] = ("    %s) words='%s' ;;"):format(command.word,
      command.word == "help" and table.concat(cli.WORDS, " ") or words_of(options(command.page)))
  end
  return ([[
# bash completion for lethe
_lethe() {
  local words current=${COMP_WORDS[COMP_CWORD]}
  case ${COMP_WORDS[1]} in
%s
    *) words='%s' ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words='%s'
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  case $current in
    -*) ;;
    *) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}
complete -o filenames -F _lethe lethe
]]):format(table.concat(cases, "\n"), words_of(options(parse(help.overview()))),
    table.concat(cli.WORDS, " ") .. " " .. words_of(options(parse(help.overview()))))
end

local function zsh_quote(text)
  return (text:gsub("'", "'\\''"):gsub("[%[%]:]", "\\%0"))
end

local function zsh_arguments(list)
  local lines = {}
  for _, option in ipairs(list) do
    for _, name in ipairs(option.names) do
      lines[#lines + 1] = ("    '%s[%s]%s' \\"):format(name, zsh_quote(option.text),
        option.takes and ":value:_files" or "")
    end
  end
  return table.concat(lines, "\n")
end

local function zsh()
  local words, cases = {}, {}
  for _, command in ipairs(pages()) do
    words[#words + 1] = ("    '%s:%s'"):format(command.word, zsh_quote(command.summary))
    cases[#cases + 1] = ("  %s) _arguments \\\n%s\n    '*:file:_files' ;;"):format(command.word,
      zsh_arguments(options(command.page)))
  end
  return ([[
#compdef lethe
# zsh completion for lethe
local -a commands
commands=(
%s
)
if (( CURRENT == 2 )); then
  _describe -t commands command commands
  _arguments \
%s
    '*:script:_files'
  return
fi
case $words[2] in
%s
  *) _files ;;
esac
]]):format(table.concat(words, "\n"), zsh_arguments(options(parse(help.overview()))),
    (table.concat(cases, "\n"):gsub("\\\n\n", "\\\n")))
end

io.stdout:write(assert(({ man = man, bash = bash, zsh = zsh })[arg[1]], "man, bash or zsh?")())
