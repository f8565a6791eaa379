---@meta lethe.policy

--- The text of a policy, as `policy.load` read it: a policy for whatever takes one.
---@class lethe.policy.Text: lethe.Object
local Text = {}

--- The file's name, without folders.
---@return string
function Text:name() end

--- Lets go of the text; what uses it already goes on. A second time nothing happens.
---@return true
function Text:close() end
