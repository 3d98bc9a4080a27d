import "./pages/compare";
