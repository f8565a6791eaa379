describe("nothing in here", function() end)
