-- For Quarto, which draws {mermaid} cells only: a fence that JupyterLab draws becomes what mermaid's script looks for.
local script_added = false

local function escape(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"))
end

function CodeBlock(block)
  if not block.classes:includes("mermaid") or not quarto.doc.is_format("html") then
    return nil
  end
  if not script_added then
    quarto.doc.add_html_dependency({
      name = "mermaid-fences",
      version = "11.17.2",
      scripts = { "static/mermaid.tiny.js" },
    })
    script_added = true
  end
  return pandoc.RawBlock("html", '<pre class="mermaid">' .. escape(block.text) .. "</pre>")
end
