// Sets the chosen theme before the first paint. It is a classic script, because modules run after that paint.
try {
  const theme = localStorage.getItem("studio.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The browser keeps no data for this page: the theme of the system is shown.
}
