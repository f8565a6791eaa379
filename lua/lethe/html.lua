-- What the pages that lethe writes have in common: the head, and text that stands in markup. Such a
-- page is one file, which loads nothing from anywhere.

local M = {}

local PAGE <const> = [==[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$TITLE$</title>
$HEAD$</head>
<body>
$BODY$</body>
</html>
]==]

local ESCAPES <const> = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

--- Text for HTML, also inside an attribute. Control characters, which no page may have, become "?".
---@param text any
---@return string
function M.escape(text)
  return (tostring(text):gsub("[%z\1-\8\11\12\14-\31\127]", "?"):gsub('[&<>"]', ESCAPES))
end

--- A whole page.
---@param title string plain text
---@param head string markup, to its last line feed: the style
---@param body string markup likewise
---@return string
function M.page(title, head, body)
  local parts <const> = { TITLE = M.escape(title), HEAD = head, BODY = body }
  return (PAGE:gsub("%$(%u+)%$", parts))
end

return M
